// Purpose: the behaviours of one planned visit as pairs (y, x); a share or mean is Σy / Σx over visits.
const tokyo = time => new Date(time + 9 * 3600e3)
export const circumstances = start => {
  const local = tokyo(start)
  return { evening: [Number(local.getUTCHours() >= 18), 1], weekend: [Number([0, 6].includes(local.getUTCDay())), 1] }
}
export const isNull = new Set(['cart_abandon', 'cart_after_item', 'depth:/list', 'dwell:/item', 'evening', 'weekend'])

const isAction = step => step.do === 'click' || step.do === 'login' || step.do === 'search' || (step.do === 'scroll' && step.y > 50)
export const clicksOf = page => page.steps.reduce((sum, step) => sum + ({ click: 1, search: 1, login: step.form === 'header' ? 4 : 3 }[step.do] ?? 0), 0)

export function factsOf(visit) { // the plan in the terms in which a recording is read, too
  const events = new Set()
  const pages = visit.pages.map(({ path, steps, dwell, depth, jitter, height, full, sees }) => {
    if (sees) events.add('Promotion Viewed')
    if (path === '/item') events.add('view_item')
    if (path === '/thanks') events.add('purchase')
    for (const step of steps) {
      if (step.event === 'Product Added') events.add('add_to_cart')
      else if (step.event) events.add(step.event)
      if (step.do === 'search') events.add('search')
    }
    const acts = steps.filter(isAction)
    return { path, dwell, depth: full ? Math.min(1, (Math.max(depth, jitter) + height) / full) : null, action: acts.length ? Math.min(...acts.map(({ at }) => at)) : null, clicks: clicksOf({ steps }) }
  })
  return { start: visit.start, pages, events }
}

export function behavioursOf({ start, pages, events }) {
  const total = pages.reduce((sum, page) => sum + page.dwell, 0)
  const on = path => pages.filter(page => page.path === path)
  const has = name => Number(events.has(name))
  const given = (name, y) => has(name) ? [y, 1] : [0, 0]
  const mean = (path, key) => [on(path).reduce((sum, page) => sum + page[key], 0), on(path).length]
  const first = pages[0]
  return {
    ...Object.fromEntries(['/', '/mypage', '/list'].map(path => ['landing:' + path, [Number(first.path === path), 1]])),
    first_view_exit: [Number(pages.length === 1 && first.action === null), 1],
    first_action: [first.action ?? total, 1],
    pages: [pages.length, 1],
    dwell: [total, 1],
    ...Object.fromEntries(['/', '/list', '/item', '/cart', '/mypage'].map(path => ['view:' + path, [Number(on(path).length > 0), 1]])),
    ...Object.fromEntries(['Promotion Viewed', 'Coupon Applied', 'contract_changed', 'purchase', 'add_to_cart', 'view_item', 'search'].map(name => ['event:' + name, [has(name), 1]])),
    cart_abandon: given('add_to_cart', 1 - has('purchase')),
    cart_after_item: given('view_item', has('add_to_cart')),
    'depth:/list': mean('/list', 'depth'), 'depth:/': mean('/', 'depth'), 'dwell:/item': mean('/item', 'dwell'),
    ...circumstances(start),
  }
}
