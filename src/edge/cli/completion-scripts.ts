/**
 * Completion for the three shells. Each script holds the tables of commands, options and values, finds out where in the tree
 * the cursor is, and asks `muster completion names` for deployments.
 */
import { unreachable } from "../../model/assert.ts";
import type { Completable, CompletionCommand } from "./completion-tree.ts";

export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

export function completionScript(shell: Shell, tree: readonly CompletionCommand[]): string {
  switch (shell) {
    case "bash":
      return bashScript(tree);
    case "zsh":
      return zshScript(tree);
    case "fish":
      return fishScript(tree);
    default:
      return unreachable(shell);
  }
}

/** Within single quotes of bash and zsh. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Within single quotes of fish. */
function fishQuoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

/** `@path`, `@deployment`, `@free`, or the words. */
function kindWords(value: Completable): string {
  return value.kind === "words" ? value.words.join(" ") : `@${value.kind}`;
}

/** A function of bash and zsh that prints what a table has for its key. */
function shellTable(name: string, rows: readonly (readonly [string, string])[]): string {
  const cases = rows.map(([key, value]) => `    ${quoted(key)}) printf '%s\\n' ${quoted(value)} ;;`);
  return `${name}() {\n  case "$1" in\n${cases.join("\n")}\n  esac\n}\n`;
}

function tables(tree: readonly CompletionCommand[], item: (name: string, about: string) => string): string {
  const rows = {
    commands: tree.map(
      ({ path, commands }) =>
        [path, commands.map(({ name, description }) => item(name, description)).join("\n")] as const,
    ),
    options: tree.map(
      ({ path, options }) =>
        [
          path,
          options
            .flatMap(({ names, description }) => names.map((name) => item(name, description)))
            .join("\n"),
        ] as const,
    ),
    values: tree.flatMap(({ path, options }) =>
      options.flatMap(({ names, value }) =>
        value === undefined ? [] : names.map((name) => [`${path} ${name}`, kindWords(value)] as const),
      ),
    ),
    argument: tree.map(({ path, argument }) => [path, kindWords(argument)] as const),
  };
  return Object.entries(rows)
    .map(([name, table]) => shellTable(`_muster_${name}`, table))
    .join("\n");
}

/**
 * Sets `where` to the command that the words before the cursor name, `awaited` to what the word before it waits for, and
 * `given` to the number of arguments so far; it fails behind `--`, where words belong to somebody else's command.
 * Both shells read it alike: no array is indexed.
 */
const walk = `_muster_walk() {
  where= awaited= given=0
  local word
  for word in "$@"; do
    if [ -n "$awaited" ]; then awaited=; continue; fi
    case "$word" in
      --) return 1 ;;
      -*) awaited=$(_muster_values "$where $word") ;;
      *)
        if _muster_commands "$where" | grep -q -E -- "^$word(	|\\$)"; then where="$where/$word"
        else given=$((given + 1)); fi ;;
    esac
  done
}
`;

function bashScript(tree: readonly CompletionCommand[]): string {
  return `# Completion of muster for bash: source <(muster completion bash)

${tables(tree, (name) => name)}
${walk}
_muster() {
  local where awaited given words current=\${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  _muster_walk "\${COMP_WORDS[@]:1:COMP_CWORD-1}" || { COMPREPLY=($(compgen -f -- "$current")); return; }
  if [ -n "$awaited" ]; then words=$awaited
  elif [ "\${current#-}" != "$current" ]; then words=$(_muster_options "$where")
  elif [ -n "$(_muster_commands "$where")" ]; then words=$(_muster_commands "$where")
  elif [ "$given" = 0 ]; then words=$(_muster_argument "$where")
  else words=@path; fi
  case "$words" in
    @free) ;;
    @path) COMPREPLY=($(compgen -f -- "$current")) ;;
    @deployment) COMPREPLY=($(compgen -W "$("\${COMP_WORDS[0]}" completion names 2>/dev/null)" -- "$current")) ;;
    *) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
  esac
}
complete -o filenames -F _muster muster
`;
}

function zshScript(tree: readonly CompletionCommand[]): string {
  // _describe reads the first colon as the end of the word.
  const item = (name: string, about: string): string =>
    about === "" ? name : `${name}\t${about.replace(/\s+/g, " ")}`;
  return `#compdef muster
# Completion of muster for zsh: put it as _muster into a directory of $fpath

${tables(tree, item)}
${walk}
_muster() {
  local where awaited given found
  local -a lines shown
  _muster_walk "\${(@)words[2,CURRENT-1]}" || { _files; return; }
  if [[ -n $awaited ]]; then found=$awaited
  elif [[ $PREFIX == -* ]]; then found=$(_muster_options "$where")
  elif [[ -n $(_muster_commands "$where") ]]; then found=$(_muster_commands "$where")
  elif [[ $given == 0 ]]; then found=$(_muster_argument "$where")
  else found=@path; fi
  case $found in
    @free) return 1 ;;
    @path) _files; return ;;
    @deployment) lines=("\${(@f)$($words[1] completion names 2>/dev/null)}") ;;
    *$'\\t'*) lines=("\${(@f)found}") ;;
    *) lines=(\${=found}) ;;
  esac
  local line
  for line in $lines; do
    if [[ $line == *$'\\t'* ]]; then shown+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
    else shown+=("\${line//:/\\\\:}"); fi
  done
  _describe muster shown
}
compdef _muster muster 2>/dev/null
`;
}

function fishScript(tree: readonly CompletionCommand[]): string {
  const lines: string[] = [];
  const names = tree.flatMap(({ path, options }) =>
    options.flatMap((option) =>
      option.value === undefined ? [] : option.names.map((name) => `${path} ${name}`),
    ),
  );
  for (const { path, options, commands, argument } of tree) {
    const at = `-n ${fishQuoted(`__muster_at ${path === "" ? "/" : path}`)}`;
    for (const { name, description } of commands)
      lines.push(`complete -c muster -f ${at} -a ${name} -d ${fishQuoted(description)}`);
    for (const option of options) {
      const words = option.names.map((name) =>
        name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`,
      );
      lines.push(
        `complete -c muster ${at} ${words.join(" ")}${fishValue(option.value)} -d ${fishQuoted(option.description)}`,
      );
    }
    if (commands.length === 0) lines.push(`complete -c muster ${at}${fishArgument(argument)}`);
  }
  return `# Completion of muster for fish: muster completion fish > ~/.config/fish/completions/muster.fish

set -g __muster_paths ${tree.flatMap(({ path }) => (path === "" ? [] : [path])).join(" ")}
set -g __muster_valued ${names.map(fishQuoted).join(" ")}

# Whether the words before the cursor name this command.
function __muster_at
    set -l where ""
    set -l skips 0
    for word in (commandline -opc)[2..]
        if test $skips = 1
            set skips 0
        else if test "$word" = --
            return 1
        else if contains -- "$where $word" $__muster_valued
            set skips 1
        else if contains -- "$where/$word" $__muster_paths
            set where "$where/$word"
        end
    end
    test -z "$where"; and set where /
    test "$where" = "$argv[1]"
end

complete -c muster -e
${lines.join("\n")}
`;
}

function fishValue(value: Completable | undefined): string {
  if (value === undefined) return "";
  if (value.kind === "words") return ` -x -a ${fishQuoted(value.words.join(" "))}`;
  return value.kind === "path" ? " -r -F" : " -x";
}

function fishArgument(argument: Completable): string {
  if (argument.kind === "words") return ` -f -a ${fishQuoted(argument.words.join(" "))}`;
  if (argument.kind === "deployment") return " -f -a '(muster completion names 2>/dev/null)'";
  return argument.kind === "path" ? " -F" : " -f";
}
