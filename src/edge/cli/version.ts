/** What this binary is; the build puts both in. */
declare const MUSTER_VERSION: string | undefined;
declare const MUSTER_COMMIT: string | undefined;

export const version = typeof MUSTER_VERSION === "string" ? MUSTER_VERSION : "0.0.0-source";
/** Of the sources, short form; `unknown` outside a build. */
export const commit = typeof MUSTER_COMMIT === "string" ? MUSTER_COMMIT : "unknown";
