/** Writes plain files as a tar archive (ustar), byte for byte the same for the same files. */

const blockBytes = 512;
const endBlocks = 2;
/** What eleven octal digits hold; longer files have their size in base 256 (GNU). */
const octalSizeMax = 8 ** 11 - 1;

/** The header before a file's data. `name` is of at most 100 bytes. */
export function tarHeader(name: string, sizeBytes: number): Uint8Array {
  const block = Buffer.alloc(blockBytes);
  block.write(name, 0, 100, "latin1");
  writeOctal(block, 0o644, 100, 8);
  writeOctal(block, 0, 108, 8);
  writeOctal(block, 0, 116, 8);
  if (sizeBytes <= octalSizeMax) writeOctal(block, sizeBytes, 124, 12);
  else {
    block.writeUInt8(0x80, 124);
    block.writeBigUInt64BE(BigInt(sizeBytes), 128);
  }
  writeOctal(block, 0, 136, 12);
  block.write("0", 156, "latin1");
  block.write("ustar\u000000", 257, "latin1");
  block.fill(" ", 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

/** What has to follow a file's data. */
export function tarPadding(sizeBytes: number): Uint8Array {
  return new Uint8Array((blockBytes - (sizeBytes % blockBytes)) % blockBytes);
}

export function tarEnd(): Uint8Array {
  return new Uint8Array(endBlocks * blockBytes);
}

function writeOctal(block: Buffer, value: number, at: number, length: number): void {
  block.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
}
