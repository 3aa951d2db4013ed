/** Signals of Linux by name (signal(7)); the numbers are those of amd64 and arm64. */

const numbers: ReadonlyMap<string, number> = new Map([
  ["SIGHUP", 1],
  ["SIGINT", 2],
  ["SIGQUIT", 3],
  ["SIGILL", 4],
  ["SIGTRAP", 5],
  ["SIGABRT", 6],
  ["SIGBUS", 7],
  ["SIGFPE", 8],
  ["SIGKILL", 9],
  ["SIGUSR1", 10],
  ["SIGSEGV", 11],
  ["SIGUSR2", 12],
  ["SIGPIPE", 13],
  ["SIGALRM", 14],
  ["SIGTERM", 15],
  ["SIGSTKFLT", 16],
  ["SIGCHLD", 17],
  ["SIGCONT", 18],
  ["SIGSTOP", 19],
  ["SIGTSTP", 20],
  ["SIGTTIN", 21],
  ["SIGTTOU", 22],
  ["SIGURG", 23],
  ["SIGXCPU", 24],
  ["SIGXFSZ", 25],
  ["SIGVTALRM", 26],
  ["SIGPROF", 27],
  ["SIGWINCH", 28],
  ["SIGIO", 29],
  ["SIGPWR", 30],
  ["SIGSYS", 31],
]);

/** The first real-time signal that the C libraries leave to programs. */
const realTimeMin = 34;
const realTimeMax = 64;

/** All names without those of real-time signals. */
export const signalNames: readonly string[] = [...numbers.keys()];

/** `TERM`, `sigterm` and `15` are `SIGTERM`; `37` and `RTMIN+3` are `SIGRTMIN+3`; undefined for what is no signal. */
export function parseSignal(text: string): string | undefined {
  const number = signalNumberOf(text);
  return number === undefined ? undefined : nameOf(number);
}

/** The number of whatever `parseSignal` understands. */
export function signalNumberOf(text: string): number | undefined {
  if (/^\d{1,2}$/.test(text)) return nameOf(Number(text)) === undefined ? undefined : Number(text);
  const name = `SIG${text.toUpperCase().replace(/^SIG/, "")}`;
  const known = numbers.get(name);
  if (known !== undefined) return known;
  const match = /^SIGRT(?:MIN(?:\+(\d{1,2}))?|MAX(?:-(\d{1,2}))?)$/.exec(name);
  if (match === null) return undefined;
  const number = name.startsWith("SIGRTMIN")
    ? realTimeMin + Number(match[1] ?? 0)
    : realTimeMax - Number(match[2] ?? 0);
  return number >= realTimeMin && number <= realTimeMax ? number : undefined;
}

function nameOf(number: number): string | undefined {
  if (number >= realTimeMin && number <= realTimeMax)
    return number === realTimeMin ? "SIGRTMIN" : `SIGRTMIN+${number - realTimeMin}`;
  return [...numbers].find(([, other]) => other === number)?.[0];
}
