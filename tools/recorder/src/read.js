// Purpose: reads a recording back: its page views and events in the terms in which a plan is read, and faults of its form.
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'

export const load = path => JSON.parse(gunzipSync(readFileSync(path)).toString('utf8'))
const source = event => event.type === 3 ? event.data.source : null
const payloads = (events, tag) => events.filter(event => event.type === 5 && event.data.tag === tag).map(event => event.data.payload)
const named = { 'Order Completed': 'purchase', 'Product Added': 'add_to_cart', 'Product Viewed': 'view_item', 'Products Searched': 'search' }

export function pageViews(events) { // splits a visit at its Meta events (a resize would bring another; none happens here)
  const starts = events.flatMap((event, index) => event.type === 4 ? [index] : [])
  return starts.map((start, index) => events.slice(start, starts[index + 1]))
}

const touched = event => event.data.positions ? event.data.positions.map(({ timeOffset }) => event.timestamp + timeOffset) : [event.timestamp]
const lastMoment = events => Math.max(...events.flatMap(touched))

export function factsOf(events) {
  const views = pageViews(events), seen = payloads(events, 'track').map(({ event }) => named[event] ?? event)
  const pages = views.map((view, index) => {
    const begin = view[0].timestamp, { height } = view[0].data
    const path = new URL(view[0].data.href).pathname
    const documentId = 1 // rrweb numbers the document node first
    const scrolls = view.filter(event => source(event) === 3 && event.data.id === documentId)
    const clicks = view.filter(event => source(event) === 2 && event.data.type === 2)
    const acts = [...clicks, ...scrolls.filter(event => event.data.y > 50)].map(event => (event.timestamp - begin) / 1000)
    const full = payloads(view, 'page')[0]?.properties.height
    const end = index + 1 < views.length ? views[index + 1][0].timestamp : lastMoment(view)
    return {
      path, dwell: (end - begin) / 1000, clicks: clicks.length, action: acts.length ? Math.min(...acts) : null,
      depth: path === '/' || path === '/list' ? Math.min(1, (Math.max(0, ...scrolls.map(event => event.data.y)) + height) / full) : null,
    }
  })
  return { start: events[0].timestamp, pages, events: new Set(seen) }
}

const shapes = {
  session: ['visitorId', 'sessionId'],
  page: ['type', 'anonymousId', 'properties.path', 'properties.title', 'properties.url', 'properties.width', 'properties.height'],
  identify: ['type', 'userId', 'anonymousId', 'traits.rank', 'traits.gender', 'traits.birth_year', 'timestamp'],
  track: ['type', 'event', 'properties', 'anonymousId', 'timestamp'],
}
const needs = {
  'Product Viewed': ['product_id', 'name', 'category', 'price'], 'Product Added': ['product_id', 'price', 'quantity'], 'Checkout Started': ['value', 'products'], 'Products Searched': ['query'],
  'Order Completed': ['order_id', 'total', 'revenue', 'shipping', 'tax', 'discount', 'currency', 'products'], 'Coupon Applied': ['coupon_id'], 'Promotion Viewed': ['promotion_id'], 'Experiment Viewed': ['experiment_id', 'variation_id'], contract_changed: ['change'],
}
const at = (value, path) => path.split('.').reduce((part, key) => part?.[key], value)

export function faultsOf(events) { // whatever is wrong with the form of a recording, as sentences
  const faults = []
  const say = (wrong, text) => { if (wrong) faults.push(text) }
  say(events[0]?.type !== 4 || events[1]?.type !== 2, 'does not begin with Meta and FullSnapshot')
  say(events[2]?.data.tag !== 'session', 'third event is not the session')
  say(events.some((event, index) => index && event.timestamp < events[index - 1].timestamp), 'time runs backwards')
  for (const view of pageViews(events)) {
    const { href, width, height } = view[0].data
    say(!href.startsWith('https://shop.example/'), `foreign address ${href}`)
    say(view.filter(event => event.type === 2).length !== 1 || view[1].type !== 2, `${href}: Meta is not followed by one FullSnapshot`)
    const [page] = payloads(view, 'page')
    say(!page || payloads(view, 'page').length !== 1, `${href}: not exactly one page call`)
    let scrollY = 0
    const grew = payloads(view.slice(view.findIndex(event => event.data.tag === 'page') + 2), 'identify').length > 0 // my page grows at a login
    const moments = []
    for (const event of view) {
      if (source(event) === 3 && event.data.id === 1) scrollY = event.data.y
      if (source(event) === 2 && event.data.type === 2) say(!(event.data.x >= 0 && event.data.x <= width && event.data.y >= 0 && event.data.y <= height && event.data.y + scrollY <= page.properties.height + (grew ? 1500 : 250)), `${href}: click outside the page`)
      if (event.data.positions) moments.push(...touched(event))
      if (event.data.positions) say(event.data.positions.some(({ x, y, timeOffset }) => x < 0 || y < 0 || x > width || y > height || timeOffset > 0), `${href}: pointer outside the window`)
      if (source(event) === 3) say(event.data.id === 1 && (event.data.y < 0 || event.data.y > page.properties.height - height + (grew ? 1500 : 250)), `${href}: scroll beyond the page`)
    }
    say(moments.some((moment, index) => index && moment - moments[index - 1] < 49.5), `${href}: pointer positions closer than 50 ms`)
  }
  for (const [tag, keys] of Object.entries(shapes)) for (const payload of payloads(events, tag)) {
    for (const key of keys) say(at(payload, key) === undefined, `${tag} call without ${key}`)
    if (tag === 'track') for (const key of needs[payload.event] ?? [`(unknown event ${payload.event})`]) say(payload.properties[key] === undefined, `${payload.event} without ${key}`)
  }
  for (const { properties: order } of payloads(events, 'track').filter(({ event }) => event === 'Order Completed')) {
    const goods = order.products.reduce((sum, { price, quantity }) => sum + price * quantity, 0)
    say(order.revenue + order.tax + order.shipping !== order.total || goods - order.discount + order.shipping !== order.total, `order ${order.order_id} does not add up`)
  }
  say(payloads(events, 'identify').length > 1, 'more than one identify')
  return faults
}
export const identityOf = events => payloads(events, 'identify')[0] ?? null
export const sessionOf = events => payloads(events, 'session')[0]
export const variantOf = events => payloads(events, 'track').find(({ event }) => event === 'Experiment Viewed')?.properties.variation_id ?? null
