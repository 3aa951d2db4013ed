/** Diagnostics. Messages are constant; what varies goes into fields. No secrets, ever. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** `error` a human must act; `warn` degraded and retrying; `info` once per change of life cycle; `debug` per message. */
export interface Logger {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to every line. */
  child(fields: LogFields): Logger;
}
