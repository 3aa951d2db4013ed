import { expect, test } from "bun:test";
import { findListener } from "./listening-sockets.ts";

const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 0100007F:1F91 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0 0 10 0
`;
const udp6 = `  sl  local_address                         remote_address                        st tx_queue
  9: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 07 0:0 00:0 0 0 0 333 2 0 0
`;

test("who listens holds a port, who is only connected does not", () => {
  expect(findListener(tcp, 8080, "tcp")).toBe("111");
  expect(findListener(tcp, 8081, "tcp")).toBeUndefined();
  expect(findListener(tcp, 80, "tcp")).toBeUndefined();
  expect(findListener(udp6, 53, "udp")).toBe("333");
  expect(findListener("", 53, "udp")).toBeUndefined();
});
