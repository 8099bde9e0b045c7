// Purpose: the visitors: who they are, their own habits scattered round those of their rank, and when they come.
import { scattered } from './random.js'
import { variantOf } from '../shop/assign.js'
import * as world from './world.js'

const hex = (random, length) => Array.from({ length }, () => Math.floor(random.uniform() * 16).toString(16)).join('')

export function makePerson(random, rank, number = null) {
  const browser = device => { const id = hex(random, 16); return { device, visitorId: id, variant: variantOf(id), screen: random.pick(world.screens[device]) } }
  return {
    rank, changes: null,
    userId: number && 'M' + number,
    gender: random.weighted({ female: 0.8, male: 0.18, other: 0.02 }),
    birth_year: Math.round(random.between(1962, 2005)),
    browsers: { desktop: browser('desktop'), mobile: browser('mobile') },
    z: { landing: random.normal(), exit: random.between(-1, 1), pace: random.normal(), banner: random.normal(), manage: random.normal(), add: random.normal(), buy: random.normal(), evening: random.normal(), mobile: random.normal() },
  }
}

export function habitsOf({ z }, rank) { // this person's own probabilities while of this rank
  const own = world.story[rank]
  const top = scattered(own.landing['/'], z.landing, 0.45)
  const rest = (1 - top) / (1 - own.landing['/'])
  return {
    ...own,
    landing: { '/': top, '/mypage': own.landing['/mypage'] * rest, '/list': own.landing['/list'] * rest },
    firstViewExit: own.firstViewExit + 0.08 * z.exit,
    hesitate: own.hesitate * Math.exp(0.22 * z.pace),
    banner: scattered(own.banner, z.banner, 0.4),
    coupon: own.coupon && scattered(own.coupon, z.manage, 0.4),
    contract: own.contract && scattered(own.contract, z.manage, 0.4),
    add: scattered(world.common.addAfterItem, z.add, 0.4),
    buy: scattered(world.common.buyAfterAdd, z.buy, 0.4),
    evening: scattered(world.common.evening, z.evening, 0.4),
    mobile: scattered(world.common.mobile, z.mobile, 0.8),
  }
}

export function makeComings(random, person) { // the visits' dates and circumstances; nothing here looks at the rank
  const count = person.userId ? 2 + random.poisson(2.4) : 1 + random.poisson(0.15)
  const weights = Object.fromEntries(Array.from({ length: world.days }, (_, day) => [day, day % 7 === 0 || day % 7 === 6 ? world.common.weekendWeight : 1]))
  const habits = habitsOf(person, person.rank)
  const comings = []
  while (comings.length < count) {
    const day = Number(random.weighted(weights))
    delete weights[day] // one visit a day
    const hour = random.chance(habits.evening) ? random.between(18, 23.7) : random.between(7, 18)
    comings.push({
      person, start: Math.round(world.firstDay + (day * 24 + hour) * 3600e3),
      browser: person.browsers[random.chance(habits.mobile) ? 'mobile' : 'desktop'],
      source: random.weighted(world.common.source), campaign: random.pick(world.campaigns),
      login: person.userId ? random.weighted(world.common.login) : 'never',
    })
  }
  return comings
}

export const rankAt = (person, time) => person.changes && time >= person.changes.at ? person.changes.to : person.rank
