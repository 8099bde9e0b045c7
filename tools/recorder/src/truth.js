// Purpose: the population values of the demo shop, by running the planner alone very often -> data/demo/truth.csv.
import { writeFileSync, mkdirSync } from 'node:fs'
import { join, dirname } from 'node:path'
import { randomFrom } from './random.js'
import { makePerson, makeComings } from './people.js'
import { planShop, planVisit } from './plan.js'
import { behavioursOf, factsOf, isNull } from './behave.js'
import { seed, firstDay, days } from './world.js'

export const end = firstDay + days * 86400e3

export function ratio(pairs) { // pairs: one [Σy, Σx] per person -> Σy / Σx and its error with persons as clusters
  const y = pairs.reduce((sum, pair) => sum + pair[0], 0), x = pairs.reduce((sum, pair) => sum + pair[1], 0)
  const value = y / x
  const squares = pairs.reduce((sum, pair) => sum + (pair[0] - value * pair[1]) ** 2, 0)
  return { value, se: Math.sqrt(squares * pairs.length / Math.max(1, pairs.length - 1)) / x }
}

export function byPerson(rows) { // rows: {person, behaviours} -> key -> pairs per person
  const table = {}
  for (const { person, behaviours } of rows) for (const [key, [y, x]] of Object.entries(behaviours)) {
    const pair = ((table[key] ??= new Map()).get(person)) ?? [0, 0]
    table[key].set(person, [pair[0] + y, pair[1] + x])
  }
  return Object.fromEntries(Object.entries(table).map(([key, map]) => [key, [...map.values()]]))
}

function population(rank, people) {
  const random = randomFrom(`${seed}-truth-${rank}`)
  const rows = Array.from({ length: people }, (_, index) => makeComings(random, makePerson(random, rank, 10001 + index))).flat()
    .map(coming => planVisit(random, coming)).filter(visit => visit.identified)
    .map(visit => ({ person: visit.person, behaviours: behavioursOf(factsOf(visit)) }))
  return byPerson(rows)
}

export function units(visits) { // visits with their facts, in order of time -> one row per visitor exposed to the first-view experiment
  const rows = new Map()
  for (const { visitorId, variant, facts } of visits) {
    if (!rows.has(visitorId) && facts.pages.some(page => page.path === '/')) {
      const exit = behavioursOf(facts).first_view_exit[0] * Number(facts.pages[0].path === '/')
      rows.set(visitorId, { variant, since: facts.start, first_view_exit: [exit, 1], purchase: [0, Number(facts.start <= end - 14 * 86400e3)] })
    }
    const row = rows.get(visitorId)
    if (row?.purchase[1] && facts.events.has('purchase') && facts.start <= row.since + 14 * 86400e3) row.purchase[0] = 1
  }
  return [...rows.values()]
}
export const withFacts = visits => visits.map(visit => ({ ...visit.browser, person: visit.person, rank: visit.rank, identified: visit.identified, facts: factsOf(visit) }))

export function truth({ people = 20000, shops = 800 } = {}) {
  const [a, b] = ['Bronze', 'Royal'].map(rank => population(rank, people))
  const rows = Object.keys(a).map(key => {
    const left = ratio(a[key]), right = ratio(b[key])
    if (isNull.has(key) && Math.abs(right.value - left.value) > 4 * Math.hypot(left.se, right.se)) throw new Error(`${key} should be equal by construction: ${left.value}, ${right.value}`)
    return { kind: 'behaviour', key, segment: 'rank', a: 'Bronze', b: 'Royal', value: isNull.has(key) ? 0 : right.value - left.value, se: isNull.has(key) ? 0 : Math.hypot(left.se, right.se), is_null: isNull.has(key), left, right }
  })
  const exposed = Array.from({ length: shops }, (_, index) => units(withFacts(planShop(`${seed}-shop-${index}`)))).flat()
  for (const metric of ['first_view_exit', 'purchase']) {
    const [left, right] = ['A', 'B'].map(arm => ratio(exposed.filter(row => row.variant === arm && row[metric][1]).map(row => row[metric])))
    rows.push({ kind: 'experiment', key: 'top_first_view:' + metric, segment: 'all', a: 'A', b: 'B', value: right.value - left.value, se: Math.hypot(left.se, right.se), is_null: false, left, right })
  }
  return rows
}

export function writeTruth(path) {
  const rows = truth()
  const columns = ['kind', 'key', 'segment', 'a', 'b', 'value', 'se', 'is_null']
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, [columns, ...rows.map(row => columns.map(name => typeof row[name] === 'number' ? String(Number(row[name].toFixed(6))) : row[name]))].map(cells => cells.join(',')).join('\n') + '\n')
  return rows
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { demo } = await import('./browser.js')
  const rows = writeTruth(join(demo, 'truth.csv'))
  const replicates = Array.from({ length: 200 }, (_, index) => { // how clear each difference is in one shop of this size
    const rows = withFacts(planShop(`${seed}-power-${index}`)).filter(visit => visit.identified)
    const [a, b] = ['Bronze', 'Royal'].map(rank => byPerson(rows.filter(row => row.rank === rank).map(row => ({ person: row.person, behaviours: behavioursOf(row.facts) }))))
    return Object.fromEntries(Object.keys(a).map(key => [key, ratio(b[key]).value - ratio(a[key]).value]))
  })
  for (const row of rows) {
    const values = replicates.map(one => one[row.key]).filter(Number.isFinite), mean = values.reduce((sum, v) => sum + v, 0) / values.length
    const sd = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (values.length - 1))
    console.log(row.key.padEnd(34), [row.left.value, row.right.value, row.right.value - row.left.value, Math.hypot(row.left.se, row.right.se), sd].map(v => v.toFixed(4).padStart(9)).join(' '), row.is_null ? 'null' : ((row.value / sd).toFixed(1) + ' se'))
  }
}
