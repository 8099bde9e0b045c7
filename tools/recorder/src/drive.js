// Purpose: performs one planned visit in Chromium and gives back what rrweb recorded.
import { openContext, origin } from './browser.js'
import { randomFrom } from './random.js'
import { setClock } from './clock.js'
import { Hand } from './hand.js'
import { latency } from './world.js'

const traits = ({ person, rank }) => ({ userId: person.userId, rank, gender: person.gender, birth_year: person.birth_year })
const addressOf = ({ pages, source, campaign }) => origin + pages[0].path + (source === 'line' ? `?utm_source=line&utm_medium=message&utm_campaign=${campaign}` : '')

async function idle(hand, until) { // reading: now and then the pointer drifts
  while (until * 1000 - hand.now >= 1) {
    const left = until * 1000 - hand.now
    await hand.wait(Math.min(left, hand.random.between(1200, 3600)))
    if (!hand.mobile && until * 1000 - hand.now > 700) await hand.move(...hand.near(60), 0.35)
  }
}

async function dither(hand, until, jitter) { // hesitation: small movements that are no action
  if (hand.mobile && until * 1000 - hand.now > 2500) { await hand.wait(600); await hand.drag(jitter) }
  while (until * 1000 - hand.now > 400) {
    const left = until * 1000 - hand.now
    await hand.wait(Math.min(left, hand.random.between(120, 700)))
    if (!hand.mobile) await hand.move(...hand.near(hand.random.chance(0.2) ? 90 : 22), Math.min(0.4, left / 1000))
    else if (left > 2500 && hand.random.chance(0.3)) await hand.drag(Math.round(jitter * hand.random.between(0, 1)))
  }
}

async function login(hand, form, userId) {
  const box = form === 'header' ? '#login' : '#mypage-login'
  if (form === 'header') { await hand.click('#nav-login'); await hand.wait(500) }
  await hand.click(`${box} .member-number`)
  await hand.type(userId, 110)
  await hand.click(`${box} .password`)
  await hand.type('sumiha-2026', 70)
  await hand.click(`${box} .login-submit`)
  await hand.page.waitForFunction(() => sessionStorage.identified)
}

async function search(hand, text) {
  await hand.click('#search')
  await hand.type(text, 260)
  await hand.wait(300)
  await hand.page.keyboard.press('Enter')
}

const perform = {
  dither: (hand, step, page) => dither(hand, step.until, page.jitter),
  scroll: (hand, step) => hand.scroll(step.y, step.until - step.at),
  click: (hand, step) => hand.click(step.on, 0.7),
  login: (hand, step, page, visit) => login(hand, step.form, visit.person.userId),
  search: (hand, step) => search(hand, step.text),
}

async function drivePage(hand, page, visit, last) {
  for (const [index, step] of page.steps.entries()) {
    const leaves = !last && index === page.steps.length - 1
    await idle(hand, step.at - (step.do === 'click' ? (hand.mobile ? 0.1 : 0.8) : 0))
    const arrival = leaves ? hand.page.waitForEvent('domcontentloaded', { timeout: 15000 }) : null
    await Promise.all([arrival, perform[step.do](hand, step, page, visit)])
    if (leaves) return
  }
  await idle(hand, page.dwell - 0.9)
  if (!hand.mobile) await hand.move(...hand.near(30), Math.max(0.2, page.dwell - hand.now / 1000 - 0.05))
  else await hand.drag(await hand.page.evaluate(() => scrollY > 8 ? scrollY - 6 : scrollY > 2 ? 0 : scrollY + 6)) // a sign of life on leaving
  await hand.wait(page.dwell * 1000 - hand.now)
  await hand.wait(600) // the recorder hands over what it has gathered
}

export async function drive(browser, visit) {
  const { device, screen: [width, height], visitorId } = visit.browser
  const mobile = device === 'mobile', random = randomFrom('drive-' + visit.id)
  const cookies = { visitor: visitorId, session: visit.id, ...(visit.login === 'cookie' && { member: JSON.stringify(traits(visit)) }) }
  const context = await openContext(browser, { width, height, mobile }, { cookies, login: visit.person.userId && traits(visit) })
  const events = []
  await context.exposeBinding('collect', (_, text) => { events.push(JSON.parse(text)) })
  await context.addInitScript(setClock, { start: visit.start, latency: latency * 1000 })
  const page = await context.newPage()
  const faults = []
  page.on('pageerror', error => faults.push(error.message))
  const cdp = await context.newCDPSession(page)
  const hand = new Hand({ page, cdp, random, mobile, width, height })
  await page.goto(addressOf(visit), visit.source === 'google' ? { referer: 'https://www.google.com/' } : {})
  for (const [index, planned] of visit.pages.entries()) {
    await page.waitForFunction(() => window.ready)
    hand.now = 0
    await drivePage(hand, planned, visit, index === visit.pages.length - 1)
  }
  await context.close()
  if (faults.length) throw new Error(`${visit.id}: ${faults[0]}`)
  return events
}
