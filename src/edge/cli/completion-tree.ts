/** What can be completed, read from the program itself: nothing is listed a second time. */
import type { CommandUnknownOpts } from "@commander-js/extra-typings";

export type Completable =
  /** One of these words. */
  | { readonly kind: "words"; readonly words: readonly string[] }
  /** A path of this machine. */
  | { readonly kind: "path" }
  /** A deployment, as the agent knows them. */
  | { readonly kind: "deployment" }
  /** Anything; nothing can be proposed. */
  | { readonly kind: "free" };

export interface CompletionOption {
  /** As typed: `-n`, `--namespace`. */
  readonly names: readonly string[];
  readonly description: string;
  /** Undefined for a switch. */
  readonly value: Completable | undefined;
}

export interface CompletionCommand {
  /** `/cohort/show`; empty for the program itself. */
  readonly path: string;
  readonly description: string;
  readonly options: readonly CompletionOption[];
  readonly commands: readonly { readonly name: string; readonly description: string }[];
  /** What its first argument is. */
  readonly argument: Completable;
}

/** Every command of the tree, its global options included in each. */
export function completionTree(program: CommandUnknownOpts): readonly CompletionCommand[] {
  return below(program, "", optionsOf(program));
}

function below(
  command: CommandUnknownOpts,
  path: string,
  shared: readonly CompletionOption[],
): readonly CompletionCommand[] {
  const own = path === "" ? [] : optionsOf(command);
  const node: CompletionCommand = {
    path,
    description: command.description(),
    options: [...own, ...shared, { names: ["-h", "--help"], description: "show the help", value: undefined }],
    commands: command.commands.map((child) => ({ name: child.name(), description: child.description() })),
    argument: argumentOf(command),
  };
  return [node, ...command.commands.flatMap((child) => below(child, `${path}/${child.name()}`, shared))];
}

function optionsOf(command: CommandUnknownOpts): readonly CompletionOption[] {
  return command.options
    .filter((option) => !option.hidden)
    .map((option) => ({
      names: [option.short, option.long].filter((name) => name !== undefined),
      description: option.description,
      value: option.required || option.optional ? valueOf(option.flags, option.argChoices) : undefined,
    }));
}

function valueOf(flags: string, choices: readonly string[] | undefined): Completable {
  if (choices !== undefined) return { kind: "words", words: choices };
  return /<(?:path|file|dir)>$/.test(flags) ? { kind: "path" } : { kind: "free" };
}

function argumentOf(command: CommandUnknownOpts): Completable {
  const [first] = command.registeredArguments;
  if (first === undefined) return { kind: "free" };
  if (first.argChoices !== undefined) return { kind: "words", words: first.argChoices };
  return first.name() === "name" ? { kind: "deployment" } : { kind: "path" };
}
