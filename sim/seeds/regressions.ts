/** Seeds that once found something, and what it was. They are run with every change. */
export const regressions: readonly { readonly seed: number; readonly broke: string }[] = [
  {
    seed: 1,
    broke: "an answer of the directory that came after its question was given up ended the agent's turn",
  },
  { seed: 14, broke: "two declarations of one new name on one node founded two cohorts, both acknowledged" },
  { seed: 16, broke: "a learner that believed in a silent leader kept a deleted cohort for ever" },
  { seed: 36, broke: "a container promised to a deposed cohort ran on, because its member never stood down" },
  { seed: 41, broke: "a learner added after the last command never got a snapshot that knew it" },
  { seed: 74, broke: "a cohort without a steward was taken for alive by a learner it had left behind" },
  {
    seed: 106,
    broke: "a founding lost to another one at the same moment although it was acknowledged first",
  },
  { seed: 1185, broke: "a voter that forgot its group and was sent for again voted twice in one term" },
  { seed: 1256, broke: "two lineages of one epoch deposed each other in turn, as each was changed" },
  { seed: 1291, broke: "promises to a deposed cohort were never released" },
  { seed: 2196, broke: "a member without a state helped a removed voter to a majority of long ago" },
];
