/**
 * Seeds that find a mistake when it is made again, and what the mistake was; each was seen to fail with its mend taken
 * out. They are run with every change.
 */
export const regressions: readonly { readonly seed: number; readonly broke: string }[] = [
  {
    seed: 2,
    broke: "containers promised to a deposed or deleted cohort ran on, because nobody released them",
  },
  { seed: 9, broke: "the same, with published ports that nobody else could have" },
  { seed: 5, broke: "a learner that believed in a silent leader kept a deleted cohort for ever" },
  { seed: 203, broke: "the same, and two cohorts of one deployment were taken for alive" },
  {
    seed: 25,
    broke: "an answer of the directory that came after its question was given up ended the agent's turn",
  },
  { seed: 132, broke: "a learner added after the last command never got a snapshot that knew it" },
  {
    seed: 483,
    broke:
      "a node that membership had forgotten was never given up: its grace ended a rounding after the timer",
  },
];
