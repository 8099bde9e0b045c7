// Purpose: the site's own measuring tag: the real rrweb recorder plus custom events in Segment's shapes.
const pad = value => String(value).padStart(2, '0')
export const cookie = name => document.cookie.split('; ').find(part => part.startsWith(name + '='))?.slice(name.length + 1)
export const visitorId = cookie('visitor') ?? 'visitor'
export const sessionId = cookie('session') ?? 'session'
export const member = () => JSON.parse(decodeURIComponent(cookie('member') ?? '') || 'null')

function custom(tag, payload) { rrweb.record.addCustomEvent(tag, payload) }
function messageId() {
  const count = Number(sessionStorage.messages ?? 0) + 1
  sessionStorage.messages = count
  return `${sessionId}-${pad(count)}`
}
const stamp = () => new Date(Date.now()).toISOString()

export function track(event, properties) {
  const userId = sessionStorage.identified
  custom('track', { type: 'track', messageId: messageId(), event, properties, anonymousId: visitorId, ...(userId && { userId }), timestamp: stamp() })
}

export function identify({ userId, ...traits }) {
  if (sessionStorage.identified) return
  sessionStorage.identified = userId
  custom('identify', { type: 'identify', messageId: messageId(), userId, anonymousId: visitorId, traits, timestamp: stamp() })
}

export function start() {
  rrweb.record({ emit: event => window.collect?.(JSON.stringify(event)), slimDOMOptions: 'all', recordCanvas: false })
  if (!sessionStorage.started) custom('session', { visitorId, sessionId })
  sessionStorage.started = 1
  const page = document.documentElement
  custom('page', {
    type: 'page', messageId: messageId(), anonymousId: visitorId, timestamp: stamp(),
    properties: { path: location.pathname, title: document.title, url: location.href, referrer: document.referrer, width: page.scrollWidth, height: page.scrollHeight },
  })
  if (member()) identify(member())
}
