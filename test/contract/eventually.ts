/** Asks again until `probe` answers something, at most 20 s; the condition, not the time, decides. */
export async function eventually<T>(what: string, probe: () => Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (performance.now() > deadline) throw new Error(`still not so after 20 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
