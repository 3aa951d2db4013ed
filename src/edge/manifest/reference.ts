/** The reference page's tables, made from the schema. `bun scripts/spec-page.ts` writes them; a test says when it has to. */
import { manualOfSpec, type FieldManual } from "./manual.ts";

const begin = "<!-- Fields: written by scripts/spec-page.ts from the schema. Change the words there. -->";
const end = "<!-- End of the fields. -->";

/** The page with its tables as of this schema; throws when it has no place for them. */
export function withReference(page: string): string {
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error(`the page has no lines ${begin} and ${end}`);
  return `${page.slice(0, from)}${begin}\n\n${referenceOf(manualOfSpec())}\n${page.slice(to)}`;
}

interface Section {
  readonly heading: string;
  readonly text: string;
}

function referenceOf(fields: readonly FieldManual[]): string {
  const sections: Section[] = [{ heading: "A deployment", text: tableOf(fields) }];
  const written = new Map<string, FieldManual>();
  addSections(fields, sections, written);
  return sections.map(({ heading, text }) => `### ${heading}\n\n${text}`).join("\n");
}

/** One section for each field that has fields; those that were written before are referred to. */
function addSections(
  fields: readonly FieldManual[],
  sections: Section[],
  written: Map<string, FieldManual>,
): void {
  for (const field of fields) {
    if (field.fields.length === 0) continue;
    const same = [...written.values()].find((other) => hasAll(other, field));
    if (same !== undefined) {
      const names = new Set(field.fields.map(({ name }) => name));
      const without = same.fields.map(({ name }) => name).filter((name) => !names.has(name));
      const less = without.length === 0 ? "" : `, without ${without.map(code).join(", ")}`;
      const text = `The fields of ${code(same.path)}${less}.\n`;
      sections.push({ heading: code(field.path), text });
      continue;
    }
    written.set(field.path, field);
    sections.push({ heading: code(field.path), text: tableOf(field.fields) });
    addSections(field.fields, sections, written);
  }
}

/** Whether each field of `field` stands in `other`, with all below it; that it must be named may differ. */
function hasAll(other: FieldManual, field: FieldManual): boolean {
  return field.fields.every((one) => {
    const twin = other.fields.find(({ name }) => name === one.name);
    return twin !== undefined && twin.type === one.type && twin.meaning === one.meaning && hasAll(twin, one);
  });
}

function tableOf(fields: readonly FieldManual[]): string {
  const rows = fields.map((field) => [
    code(field.name),
    field.type,
    field.isRequired ? "required" : (field.default ?? ""),
    field.meaning,
    code(field.example),
  ]);
  const cells = [["field", "type", "default", "meaning", "example"], ...rows].map((row) =>
    row.map((cell) => cell.replaceAll("|", "\\|")),
  );
  const lines = cells.map((row) => `| ${row.join(" | ")} |\n`);
  return [lines[0] ?? "", "| --- | --- | --- | --- | --- |\n", ...lines.slice(1)].join("");
}

function code(text: string): string {
  return `\`${text}\``;
}
