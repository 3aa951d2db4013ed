import type { Clock } from "../../ports/clock.ts";
import type { LogFields, Logger } from "../../ports/logger.ts";

export type LogLevel = "error" | "warn" | "info" | "debug";

const levels: readonly LogLevel[] = ["error", "warn", "info", "debug"];

export interface JsonLinesLoggerPorts {
  readonly clock: Pick<Clock, "wallMs">;
  /** Takes one whole line, its newline included. */
  readonly write: (line: string) => void;
}

export interface JsonLinesLoggerOptions {
  /** The least severe level that is written. */
  readonly level: LogLevel;
  /** In every line. */
  readonly fields: LogFields;
}

/** One JSON object a line: `time`, `level`, `message`, then the fields. */
export class JsonLinesLogger implements Logger {
  readonly #ports: JsonLinesLoggerPorts;
  readonly #options: JsonLinesLoggerOptions;

  constructor(ports: JsonLinesLoggerPorts, options: JsonLinesLoggerOptions) {
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
    return new JsonLinesLogger(this.#ports, {
      level: this.#options.level,
      fields: { ...this.#options.fields, ...fields },
    });
  }

  #write(level: LogLevel, message: string, fields: LogFields): void {
    if (levels.indexOf(level) > levels.indexOf(this.#options.level)) return;
    const time = new Date(this.#ports.clock.wallMs()).toISOString();
    const own = { time, level, message };
    // Spread twice: its own keys come first in the line, and win over fields of the same name.
    const line = { ...own, ...this.#options.fields, ...fields, ...own };
    this.#ports.write(`${JSON.stringify(line)}\n`);
  }
}
