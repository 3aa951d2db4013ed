/**
 * Whom to trust for a registry's certificate: the roots that the program brings, then what the machine trusts, and for a
 * registry with a directory of its own what is in there, laid out as Docker has it: `HOST:PORT/*.crt` are
 * authorities, `NAME.cert` and `NAME.key` what the client shows of itself.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export interface CertificateOptions {
  /** Such as `/etc/docker/certs.d`; undefined for none. */
  readonly directory: string | undefined;
  /** What the machine trusts, by the names that distributions have for it; the first that is there counts. */
  readonly systemBundles: readonly string[];
}

export const systemBundlesDefault: readonly string[] = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

/** As fetch takes them. */
export interface RegistryTls {
  readonly ca?: string[];
  readonly cert?: string;
  readonly key?: string;
}

export class RegistryCertificates {
  readonly #options: CertificateOptions;
  /** Hosts whose certificate the narrower choice of authorities did not cover. */
  readonly #wide = new Set<string>();

  constructor(options: CertificateOptions) {
    this.#options = options;
  }

  /** Read each time: certificates are renewed. `host` has its port where it is not the usual one. */
  async tlsFor(host: string): Promise<RegistryTls> {
    const own = await this.#own(host);
    const authorities = own.ca ?? [];
    const all = this.#wide.has(host) ? [...authorities, ...(await this.#system())] : authorities;
    return all.length === 0 ? own : { ...own, ca: all };
  }

  /** After a certificate was refused: whether a second attempt trusts more than the first one did. */
  async widen(host: string): Promise<boolean> {
    if (this.#wide.has(host) || (await this.#system()).length === 0) return false;
    this.#wide.add(host);
    return true;
  }

  async #own(host: string): Promise<RegistryTls> {
    const { directory } = this.#options;
    // A host is checked before it gets here; still it names a path only when it is a plain name.
    if (directory === undefined || /[/\\]|^\.+$/.test(host)) return {};
    const folder = join(directory, host);
    const names = await readdir(folder).catch((): string[] => []);
    const read = (name: string): Promise<string> => readFile(join(folder, name), "utf8");
    const ca = await Promise.all(names.filter((name) => name.endsWith(".crt")).map(read));
    const client = names.find((name) => name.endsWith(".cert"));
    const key = client?.replace(/\.cert$/, ".key");
    const isPair = client !== undefined && key !== undefined && names.includes(key);
    return {
      ...(ca.length === 0 ? {} : { ca }),
      ...(isPair ? { cert: await read(client), key: await read(key) } : {}),
    };
  }

  async #system(): Promise<readonly string[]> {
    for (const path of this.#options.systemBundles) {
      const text = await readFile(path, "utf8").catch(() => undefined);
      if (text !== undefined) return [text];
    }
    return [];
  }
}

/** Of fetch: the other end's certificate is not trusted. */
export function isCertificateFailure(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return /CERT|SIGNATURE|ISSUER|SELF_SIGNED/.test(code);
}
