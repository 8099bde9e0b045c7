// Purpose: seeded random numbers, so that the same plan comes out every time.
export function randomFrom(seed) {
  let state = 2166136261
  for (const char of String(seed)) state = Math.imul(state ^ char.charCodeAt(0), 16777619)
  const uniform = () => { // mulberry32
    state = (state + 0x6d2b79f5) | 0
    let word = Math.imul(state ^ (state >>> 15), 1 | state)
    word = (word + Math.imul(word ^ (word >>> 7), 61 | word)) ^ word
    return ((word ^ (word >>> 14)) >>> 0) / 4294967296
  }
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
  const random = {
    uniform, normal,
    between: (low, high) => low + (high - low) * uniform(),
    chance: p => uniform() < p,
    lognormal: (median, sd) => median * Math.exp(sd * normal()),
    poisson: mean => { let count = 0; for (let left = Math.exp(-mean), product = uniform(); product > left; product *= uniform()) count++; return count },
    pick: list => list[Math.floor(uniform() * list.length)],
    weighted: weights => {
      const entries = Object.entries(weights).filter(([, weight]) => weight > 0)
      let left = uniform() * entries.reduce((sum, [, weight]) => sum + weight, 0)
      return entries.find(([, weight]) => (left -= weight) < 0)?.[0] ?? entries.at(-1)[0]
    },
  }
  return random
}
export const scattered = (p, z, sd) => 1 / (1 + Math.exp(-(Math.log(p / (1 - p)) + sd * z))) // p moved by z·sd on the logit scale
