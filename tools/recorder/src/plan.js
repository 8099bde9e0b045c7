// Purpose: the visitor model: seeded random numbers -> what a visit does, page by page, second by second. No browser here.
import { readFileSync } from 'node:fs'
import { randomFrom } from './random.js'
import { makePerson, makeComings, habitsOf, rankAt } from './people.js'
import * as world from './world.js'

const sizes = JSON.parse(readFileSync(new URL('sizes.json', import.meta.url), 'utf8')) // measured in the real pages by layouts.js
const { common, latency } = world
const linkTo = { list: '#nav-list', top: 'header .logo', mypage: '#nav-mypage', item: '.card', cart: '#add-to-cart', thanks: '#place-order' }
const pathOf = { list: '/list', search: '/list', top: '/', mypage: '/mypage', item: '/item', cart: '/cart', thanks: '/thanks' }
const scrollSeconds = pixels => 0.5 + pixels / 900
const without = (weights, ...names) => Object.fromEntries(Object.entries(weights).filter(([name]) => !names.includes(name)))

function newPage(visit, path) { // a page view under way: `t` is the clock of the page, in seconds from its load
  const { device, screen } = visit.browser
  const page = { path, steps: [], t: 0, depth: 0, height: screen[1], full: sizes[device][path]?.height, banner: sizes[device][path]?.banner, jitter: device === 'mobile' ? Math.round(visit.random.between(8, 38)) : 0, landing: visit.pages.length === 0 }
  visit.pages.push(page)
  return page
}
const act = (page, step, pause) => { page.steps.push({ at: page.t, ...step }); page.t += pause }
function scroll(page, to) {
  const y = Math.round(to), seconds = scrollSeconds(Math.abs(y - page.depth))
  page.steps.push({ at: page.t, do: 'scroll', y, until: page.t + seconds })
  page.depth = Math.max(page.depth, y)
  page.t += seconds
}
function dither(page, until) { page.steps.push({ at: 0.4, do: 'dither', until }); page.t = until }

function login(visit, page, form) {
  act(page, { do: 'login', form }, 7)
  visit.loggedIn = true
}
function lateLogin(visit, page) { // whoever logs in late does so on the second page, or where my page asks for it
  if (visit.login === 'late' && !visit.loggedIn && !page.landing) login(visit, page, 'header')
}
function leave(visit, page, wish) { // ends the page view with the click that leads on, or with the end of the visit
  const to = visit.pages.length >= 8 && wish !== 'thanks' ? 'exit' : wish
  if (to === 'exit') { page.t += visit.random.between(0.8, 2.5) } else {
    page.t += 2.6
    const still = page.depth === 0 && page.path === '/' && to === 'list' && visit.random.chance(0.6)
    if (to === 'search') act(page, { do: 'search', text: visit.random.pick(world.words) }, 3)
    else act(page, { do: 'click', on: still ? '#hero-cta' : linkTo[to] }, 0)
    page.t += latency
  }
  page.dwell = page.t
  return to
}

function top(visit, page) {
  const { random, habits } = visit
  const h = random.lognormal(page.landing ? habits.hesitate : 2, 0.45) + 0.8
  if (page.landing && random.chance(habits.firstViewExit + (visit.browser.variant === 'B' ? world.effectB : 0))) {
    dither(page, h * 1.3 + 1)
    return leave(visit, page, 'exit')
  }
  dither(page, h)
  lateLogin(visit, page)
  const moves = random.chance(habits.scroll)
  if (moves) {
    const sees = random.chance(habits.banner), middle = page.banner[0] + page.banner[1] / 2 - page.height
    scroll(page, sees ? random.between(middle + 60, page.full - page.height) : random.between(260, middle - 60))
    page.t += random.lognormal(4, 0.5)
    page.sees = sees
    if (sees && random.chance(common.bannerClick)) { page.t += 2.6; act(page, { do: 'click', on: '#coupon-get', event: 'Coupon Applied' }, 2) }
  }
  const weights = without(habits.fromTop, ...(moves ? [] : ['item', ...(page.landing ? ['exit'] : [])]), ...(visit.been.has('/mypage') || !visit.canLogin ? ['mypage'] : []))
  return leave(visit, page, random.weighted(weights))
}

function list(visit, page) {
  const { random, habits } = visit
  dither(page, random.lognormal(page.landing ? habits.hesitate : 2, 0.45) + 0.8)
  lateLogin(visit, page)
  if (!random.chance(common.listStill)) scroll(page, random.between(0.15, 1) * (page.full - page.height))
  page.t += random.lognormal(5, 0.5)
  return leave(visit, page, random.weighted(without(common.fromList, ...(visit.been.has('/mypage') || !visit.canLogin ? ['mypage'] : []))))
}

function item(visit, page) { // its length is drawn first and nothing that happens on the page changes it
  const { random, habits } = visit
  const length = 15 + Math.min(90, random.lognormal(15, 0.6))
  dither(page, 1.8)
  lateLogin(visit, page)
  if (random.chance(0.6)) { page.t = Math.max(page.t, 9); scroll(page, random.between(120, 420)) }
  const first = !visit.been.has('/item') && !visit.been.has('/cart')
  const wish = random.weighted(without(common.fromItem, ...(visit.been.has('/mypage') || !visit.canLogin ? ['mypage'] : [])))
  const to = first && random.chance(habits.add) ? 'cart' : visit.pages.length >= 8 ? 'exit' : wish
  const tail = to === 'exit' ? 1 : latency
  if (to !== 'exit') page.steps.push({ at: length - tail, do: 'click', on: linkTo[to], ...(to === 'cart' && { event: 'Product Added' }) })
  page.t = page.dwell = length
  return to
}

function cart(visit, page) {
  const { random, habits } = visit
  dither(page, random.lognormal(3, 0.4) + 1)
  lateLogin(visit, page)
  page.t += 3
  if (!random.chance(habits.buy)) return leave(visit, page, random.weighted(common.fromCart))
  act(page, { do: 'click', on: '#checkout', event: 'Checkout Started' }, random.lognormal(4, 0.4) + 1)
  return leave(visit, page, 'thanks')
}

function thanks(visit, page) {
  page.t = visit.random.lognormal(6, 0.4) + 2
  return leave(visit, page, 'exit')
}

function mypage(visit, page) {
  const { random, habits } = visit
  dither(page, random.lognormal(2.6, 0.4) + 0.8)
  if (!visit.loggedIn && visit.login === 'late') login(visit, page, 'page')
  if (!visit.loggedIn) return leave(visit, page, random.chance(0.6) ? 'exit' : 'top') // the page asks for a login
  page.t += random.lognormal(2, 0.4)
  if (random.chance(habits.coupon)) act(page, { do: 'click', on: '#mypage-coupons [data-coupon]', event: 'Coupon Applied' }, random.lognormal(4, 0.4) + 2)
  const changes = random.chance(habits.contract)
  if (changes || random.chance(0.5)) { scroll(page, random.between(0.9, 1) * sizes[visit.browser.device].contract - 260); page.t += random.lognormal(3, 0.4) + 2.6 }
  if (changes) act(page, { do: 'click', on: random.chance(0.65) ? '#contract-skip' : '#contract-change', event: 'contract_changed' }, 3)
  return leave(visit, page, random.weighted(habits.fromMypage))
}

const visitPage = { '/': top, '/list': list, '/item': item, '/cart': cart, '/thanks': thanks, '/mypage': mypage }

export function planVisit(random, coming) {
  const rank = rankAt(coming.person, coming.start)
  const habits = habitsOf(coming.person, coming.person.userId ? rank : 'stranger')
  const visit = { ...coming, rank, habits, random, pages: [], been: new Set(), loggedIn: coming.login === 'cookie', canLogin: coming.login !== 'never' }
  for (let path = random.weighted(habits.landing), to = ''; to !== 'exit'; path = pathOf[to]) {
    const page = newPage(visit, path)
    to = visitPage[path](visit, page)
    visit.been.add(path)
  }
  return { ...coming, rank, pages: visit.pages, loggedIn: visit.loggedIn, identified: visit.loggedIn && Boolean(coming.person.userId) }
}

export function planShop(seed) { // all visits of the six weeks, in order of time
  const random = randomFrom(seed)
  let number = 10000
  const members = world.ranks.flatMap(rank => Array.from({ length: world.headcount[rank] }, () => makePerson(random, rank, ++number)))
  for (const [from, to] of world.rankChanges) {
    const member = random.pick(members.filter(({ rank, changes }) => rank === from && !changes))
    member.changes = { to, at: world.firstDay + Math.round(random.between(18, 26)) * 86400e3 }
  }
  const others = Array.from({ length: world.strangers }, () => makePerson(random, 'stranger'))
  const comings = [...members, ...others].flatMap(person => makeComings(random, person)).sort((a, b) => a.start - b.start)
  return comings.map((coming, index) => ({ id: 'v' + String(index + 1).padStart(3, '0'), ...planVisit(random, coming) }))
}
