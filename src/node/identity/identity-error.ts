/**
 * `exists`: the directory already holds an identity. `corrupt`: a file is missing, unreadable or does not fit the others.
 * `bad-token`: not an invite, or its signature is not the fleet's. `expired`: the invite's time is over. `wrong-fleet`: whoever
 * answered is of another fleet. `unreachable`: no join address answered. `refused`: a member answered and said no.
 */
export type IdentityErrorCode =
  "exists" | "corrupt" | "bad-token" | "expired" | "wrong-fleet" | "unreachable" | "refused";

export class IdentityError extends Error {
  override readonly name = "IdentityError";
  readonly code: IdentityErrorCode;
  constructor(code: IdentityErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
