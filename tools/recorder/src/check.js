// Purpose: reads every recording back and holds it against its plan, and the rates of all of them against truth.csv.
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { demo } from './browser.js'
import { seed } from './world.js'
import { planShop } from './plan.js'
import { behavioursOf, factsOf as plannedFacts } from './behave.js'
import { load, factsOf, faultsOf, identityOf, sessionOf, variantOf } from './read.js'
import { byPerson, ratio, units } from './truth.js'

const folder = join(demo, 'recordings'), files = readdirSync(folder).sort(), visits = planShop(seed)
const faults = [], drift = { first_action: 0, dwell: 0, depth: 0 }, rows = []
const say = (id, text) => faults.push(`${id}: ${text}`)
if (files.length !== visits.length) say('folder', `${files.length} recordings, ${visits.length} planned`)

function compare(visit, plan, real) { // what must be equal is; times and depths may differ a little, and by how much is reported
  for (const [name, of] of Object.entries({ pages: facts => facts.pages.map(page => page.path).join(' '), clicks: facts => facts.pages.map(page => page.clicks).join(' '), events: facts => [...facts.events].filter(name => !['Experiment Viewed', 'Checkout Started'].includes(name)).sort().join(', '), 'first-view exit': facts => behavioursOf(facts).first_view_exit[0] })) {
    if (of(plan) !== of(real)) say(visit.id, `${name}: planned ${of(plan)}, recorded ${of(real)}`)
  }
  const gap = (name, x, y, most) => { drift[name] = Math.max(drift[name], Math.abs(x - y)); if (Math.abs(x - y) > most) say(visit.id, `${name}: planned ${x.toFixed(2)}, recorded ${y.toFixed(2)}`) }
  gap('first_action', behavioursOf(plan).first_action[0], behavioursOf(real).first_action[0], 1.5)
  gap('dwell', behavioursOf(plan).dwell[0], behavioursOf(real).dwell[0], 3)
  plan.pages.forEach((page, index) => { if (page.depth !== null) gap('depth', page.depth, real.pages[index]?.depth ?? 0, 0.02) })
}

for (const visit of visits) {
  let events
  try { events = load(join(folder, visit.id + '.json.gz')) } catch (error) { say(visit.id, error.message); continue }
  faultsOf(events).forEach(text => say(visit.id, text))
  const facts = factsOf(events), identity = identityOf(events), session = sessionOf(events)
  compare(visit, plannedFacts(visit), facts)
  if ((identity !== null) !== visit.identified) say(visit.id, `identified: planned ${visit.identified}, recorded ${identity !== null}`)
  if (identity && (identity.userId !== visit.person.userId || identity.traits.rank !== visit.rank)) say(visit.id, 'wrong member or rank')
  if (session?.sessionId !== visit.id || session?.visitorId !== visit.browser.visitorId) say(visit.id, 'wrong session')
  if (variantOf(events) && variantOf(events) !== visit.browser.variant) say(visit.id, 'wrong variant')
  rows.push({ person: identity?.userId, rank: identity?.traits.rank, identified: Boolean(identity), visitorId: session?.visitorId, variant: visit.browser.variant, facts, behaviours: behavioursOf(facts) })
}

const truth = readFileSync(join(demo, 'truth.csv'), 'utf8').trim().split('\n').slice(1).map(line => line.split(','))
const wanted = Object.fromEntries(truth.map(([, key, , , , value]) => [key, Number(value)]))
const [a, b] = ['Bronze', 'Royal'].map(rank => byPerson(rows.filter(row => row.rank === rank)))
const arms = ['A', 'B'].map(arm => units(rows).filter(unit => unit.variant === arm))
const deviations = Object.entries(wanted).map(([key, value]) => {
  const metric = key.split(':')[1]
  const [left, right] = key.startsWith('top_first_view') ? arms.map(units => ratio(units.filter(unit => unit[metric][1]).map(unit => unit[metric]))) : [ratio(a[key]), ratio(b[key])]
  return { key, value, est: right.value - left.value, se: Math.hypot(left.se, right.se) }
})
console.log('behaviour (Royal − Bronze; B − A)        true  recorded       se   z from truth   z from 0')
for (const { key, value, est, se } of deviations) console.log(key.padEnd(36), ...[value, est, se].map(v => v.toFixed(3).padStart(9)), ((est - value) / se).toFixed(1).padStart(11), (est / se).toFixed(1).padStart(11))
const far = deviations.filter(({ value, est, se }) => Math.abs(est - value) > 3.5 * se) // 28 values: beyond 3.5 errors once in 80 shops
far.forEach(({ key }) => say('truth', `${key} is more than 3.5 standard errors away`))
for (const key of ['landing:/', 'landing:/mypage', 'first_view_exit', 'first_action', 'event:Promotion Viewed', 'event:Coupon Applied']) {
  const { est, se } = deviations.find(row => row.key === key)
  if (Math.abs(est) < 4 * se) say('story', `${key} is not clear: ${(est / se).toFixed(1)} standard errors`)
}
const bytes = files.reduce((sum, file) => sum + statSync(join(folder, file)).size, 0), pictures = readdirSync(join(demo, 'media')).reduce((sum, file) => sum + statSync(join(demo, 'media', file)).size, 0)
if (bytes > 6e6 || pictures > 2e6) say('size', `${bytes} bytes of recordings, ${pictures} of pictures`)
console.log(`\n${files.length} recordings, ${rows.filter(row => row.identified).length} identified, ${rows.reduce((sum, row) => sum + row.facts.pages.length, 0)} page views, ${arms[0].length} + ${arms[1].length} visitors in the experiment, ${(bytes / 1e6).toFixed(2)} MB, pictures ${(pictures / 1e6).toFixed(2)} MB`)
console.log(`largest drift from the plan: first action ${drift.first_action.toFixed(2)} s, dwell ${drift.dwell.toFixed(2)} s, depth ${drift.depth.toFixed(4)}`)
console.log(faults.length ? `${faults.length} faults:\n${faults.slice(0, 60).join('\n')}` : 'no faults')
process.exit(faults.length ? 1 : 0)
