/** Serves TCP and UDP on a port, and tells everybody a name and the address it sees him under. Run as `bun network-teller.ts PORT NAME [HOST]`. */
import { createSocket } from "node:dgram";
import { createServer } from "node:net";

const [portText = "", name = "", host] = process.argv.slice(2);
const port = Number(portText);
const plain = (address: string | undefined): string => (address ?? "").replace(/^::ffff:/, "");

const server = createServer((socket) => {
  socket.on("error", () => {});
  socket.end(`${name} ${plain(socket.remoteAddress)}`);
});
const hosts = host === undefined ? ["0.0.0.0", "::"] : [host];
const sockets = hosts.map((address) => {
  const socket = createSocket({ type: address.includes(":") ? "udp6" : "udp4", ipv6Only: true });
  socket.on("message", (_, from) => socket.send(`${name} ${plain(from.address)}`, from.port, from.address));
  return { socket, address };
});
await new Promise<void>((resolve) => server.listen(port, host ?? "::", resolve));
for (const { socket, address } of sockets)
  await new Promise<void>((resolve) => socket.bind(port, address, resolve));
process.stdout.write("ready\n");
