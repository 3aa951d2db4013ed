import { explain, rootName, shortFormNames, type Explained, type FieldManual } from "../manifest/manual.ts";
import type { CliContext } from "./console.ts";
import { usageFailure } from "./failure.ts";
import { show, type Program } from "./root.ts";

/** Of a terminal that is not known, and of one that is wider than a text should be. */
const columnsMax = 100;

export function registerExplain(program: Program, context: CliContext): void {
  program
    .command("explain")
    .argument("[path]", "a field of the manifest, such as spec.containers.resources", rootName)
    .option("-r, --recursive", "all fields below it, as a tree")
    .action(async (path, options, command) => {
      const flags = command.optsWithGlobals();
      const found = explain(path);
      if (!found.ok) throw usageFailure(found.error.message, found.error.next);
      const columns = Math.min(columnsMax, context.console.terminal?.size().columns ?? columnsMax);
      await show(context, flags, found.value.field ?? found.value.fields, () =>
        options.recursive === true ? treeOf(found.value) : pageOf(found.value, columns),
      );
    });
}

function pageOf({ field, fields }: Explained, columns: number): string {
  const about =
    field === undefined
      ? `${rootName}\n\n${wrap("A deployment: what `muster apply -f FILE` declares, in YAML or JSON.", 0, columns)}`
      : `${rootName}.${field.path}\n\n${factsOf(field)}\n${wrap(field.meaning, 0, columns)}`;
  if (fields.length === 0) return about;
  const list = fields
    .map(
      (one) => `  ${one.name}  (${[one.type, ...stateOf(one)].join("; ")})\n${wrap(one.meaning, 6, columns)}`,
    )
    .join("");
  const short =
    field === undefined
      ? `\n${wrap(`With one container its fields may stand here instead of \`containers\`: ${shortFormNames.join(", ")}.`, 0, columns)}`
      : "";
  return `${about}\nfields:\n${list}${short}\nmuster explain ${rootName}.${field === undefined ? "" : `${field.path}.`}FIELD tells more.\n`;
}

function factsOf(field: FieldManual): string {
  const facts = [
    ["type", field.type],
    ["default", field.isRequired ? "it must be given" : (field.default ?? "it may be left out")],
    ["example", `${field.name}: ${field.example}`],
  ];
  return facts.map(([name, value]) => `${`${name}:`.padEnd(10)}${value}\n`).join("");
}

function stateOf(field: FieldManual): readonly string[] {
  if (field.isRequired) return ["required"];
  return field.default === undefined ? [] : [`default: ${field.default}`];
}

function treeOf({ field, fields }: Explained): string {
  const lines = (list: readonly FieldManual[], depth: number): string =>
    list
      .map(
        (one) =>
          `${"  ".repeat(depth)}${one.name}  (${[one.type, ...stateOf(one)].join("; ")})\n${lines(one.fields, depth + 1)}`,
      )
      .join("");
  return `${rootName}${field === undefined ? "" : `.${field.path}`}\n${lines(fields, 1)}`;
}

function wrap(text: string, indent: number, columns: number): string {
  const width = Math.max(20, columns - indent);
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1) ?? "";
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines.map((line) => `${" ".repeat(indent)}${line}\n`).join("");
}
