/** Asks a teller and prints its answer. Run as `bun network-asker.ts tcp|udp HOST PORT [LOCAL [LOCAL_PORT]]`; exit code 1 when none comes. */
import { createSocket } from "node:dgram";
import { connect } from "node:net";

const [protocol = "", host = "", portText = "", local, localPort = "0"] = process.argv.slice(2);
const port = Number(portText);
const patienceMs = 1_500;
const againMs = 200;

function end(answer: string | undefined, code: number): void {
  if (answer !== undefined) process.stdout.write(answer);
  process.exit(code);
}

setTimeout(() => end(undefined, 1), patienceMs);
if (protocol === "tcp") {
  const socket = connect({ host, port, ...(local === undefined ? {} : { localAddress: local }) });
  socket.on("data", (data) => end(data.toString(), 0));
  socket.on("error", (error) => end(error.message, 1));
} else {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.on("message", (data) => end(data.toString(), 0));
  socket.on("error", (error) => end(error.message, 1));
  const send = (): void => void socket.send("who am I", port, host);
  socket.bind(Number(localPort), local, send);
  setInterval(send, againMs);
}
