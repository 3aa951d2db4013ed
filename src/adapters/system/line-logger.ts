import type { Clock } from "../../ports/clock.ts";
import type { LogFields, Logger } from "../../ports/logger.ts";

export type LogLevel = "error" | "warn" | "info" | "debug";
/** `json`: one object a line, for programs. `text`: the same for people at a terminal. */
export type LogFormat = "json" | "text";

const levels: readonly LogLevel[] = ["error", "warn", "info", "debug"];

export interface LineLoggerPorts {
  readonly clock: Pick<Clock, "wallMs">;
  /** Takes one whole line, its newline included. */
  readonly write: (line: string) => void;
}

export interface LineLoggerOptions {
  /** The least severe level that is written. */
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** In every line. */
  readonly fields: LogFields;
}

/** Fields whose very name says that their value is nobody's business. */
const secretName = /token|secret|password|passwd|credential|authorization|invite$|private/i;
/**
 * Secrets that may stand inside a text, such as an error's: invites, keys in PEM, credentials of a URL, and what follows
 * `Authorization:`. A net under the rule that nothing secret is logged, not a licence to do it.
 */
const secretTexts: readonly (readonly [RegExp, string])[] = [
  [/\bmuster1\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+/g, "[hidden]"],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, "[hidden]"],
  [/(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi, "$1[hidden]@"],
  [/\b(Basic|Bearer)\s+[A-Za-z0-9._~+/=-]+/g, "$1 [hidden]"],
];

/** One line an entry: `time`, `level`, `message`, then the fields, with what looks like a secret hidden. */
export class LineLogger implements Logger {
  readonly #ports: LineLoggerPorts;
  readonly #options: LineLoggerOptions;

  constructor(ports: LineLoggerPorts, options: LineLoggerOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  error(message: string, fields: LogFields = {}): void {
    this.#write("error", message, fields);
  }

  warn(message: string, fields: LogFields = {}): void {
    this.#write("warn", message, fields);
  }

  info(message: string, fields: LogFields = {}): void {
    this.#write("info", message, fields);
  }

  debug(message: string, fields: LogFields = {}): void {
    this.#write("debug", message, fields);
  }

  child(fields: LogFields): Logger {
    return new LineLogger(this.#ports, {
      ...this.#options,
      fields: { ...this.#options.fields, ...fields },
    });
  }

  #write(level: LogLevel, message: string, fields: LogFields): void {
    if (levels.indexOf(level) > levels.indexOf(this.#options.level)) return;
    const time = new Date(this.#ports.clock.wallMs()).toISOString();
    const shown: Record<string, LogFields[string]> = {};
    for (const [name, value] of Object.entries({ ...this.#options.fields, ...fields }))
      shown[name] = secretName.test(name) ? "[hidden]" : withoutSecrets(value);
    const own = { time, level, message: withoutSecrets(message) };
    // Spread twice: its own keys come first in the line, and win over fields of the same name.
    const entry = { ...own, ...shown, ...own };
    this.#ports.write(this.#options.format === "json" ? `${JSON.stringify(entry)}\n` : textLine(own, shown));
  }
}

function withoutSecrets<Value extends LogFields[string]>(value: Value): Value | string {
  if (typeof value !== "string") return value;
  let text: string = value;
  for (const [pattern, replacement] of secretTexts) text = text.replace(pattern, replacement);
  return text;
}

/** `TIME LEVEL message  name=value ...`; a value that is not one plain word is quoted, so that a line stays a line. */
function textLine(
  { time, level, message }: { readonly time: string; readonly level: LogLevel; readonly message: string },
  fields: LogFields,
): string {
  const words = Object.entries(fields)
    .filter(([name, value]) => value !== undefined && !["time", "level", "message"].includes(name))
    .map(([name, value]) => `${name}=${plain(String(value))}`);
  const said = /\p{Cc}/u.test(message) ? JSON.stringify(message) : message;
  return `${[`${time} ${level.toUpperCase().padEnd(5)} ${said}`, ...words].join(" ")}\n`;
}

function plain(value: string): string {
  return /^[^\s"'=\p{Cc}]+$/u.test(value) ? value : JSON.stringify(value);
}
