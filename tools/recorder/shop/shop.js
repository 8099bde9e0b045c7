// Purpose: the shop's behaviour: renders the page of this address, then starts the tag and wires the buttons.
import { goodById, coupons, totals } from './goods.js'
import { variantOf } from './assign.js'
import { render } from './pages.js'
import { start, track, identify, member, visitorId, sessionId } from './tag.js'

const store = {
  get: (key, fallback) => JSON.parse(localStorage.getItem(key) ?? 'null') ?? fallback,
  set: (key, value) => localStorage.setItem(key, JSON.stringify(value)),
}
const query = new URLSearchParams(location.search)
const cart = () => store.get('cart', [])
const line = ({ id, quantity }) => ({ product_id: id, name: goodById[id].name, category: goodById[id].category, price: goodById[id].price, quantity })
const on = (selector, event, act) => document.querySelectorAll(selector).forEach(node => node.addEventListener(event, act))
const say = text => { const toast = document.querySelector('#toast'); toast.textContent = text; toast.className = 'show' }

function view() {
  return { path: location.pathname, query, member: member(), variant: variantOf(visitorId), cart: cart(), coupon: store.get('coupon', null) }
}

function useCoupon(button) {
  const id = button.dataset.coupon
  store.set('coupon', id)
  button.textContent = '適用中'
  button.disabled = true
  say(`「${coupons[id].name}」を適用しました`)
  track('Coupon Applied', { coupon_id: id, coupon_name: coupons[id].name })
}

function wire() {
  on('#search', 'keydown', event => { if (event.key === 'Enter') location.href = '/list?q=' + encodeURIComponent(event.target.value) })
  on('#nav-login', 'click', () => document.querySelector('#login').classList.toggle('open'))
  on('.login-submit', 'click', async event => {
    const number = event.target.closest('.login-form').querySelector('.member-number').value
    const found = await (await fetch('/api/login?member=' + number)).json()
    document.cookie = 'member=' + encodeURIComponent(JSON.stringify(found)) + '; path=/'
    identify(found)
    paint()
    watchBanner()
    say('ログインしました')
  })
  on('[data-coupon]', 'click', event => useCoupon(event.currentTarget))
  on('[data-contract]', 'click', event => {
    const { contract, label } = event.currentTarget.dataset
    document.querySelector('#contract-state').textContent = label
    say(label)
    track('contract_changed', { change: contract, contract_id: 'C' + member().userId.slice(1) })
  })
  on('#add-to-cart', 'click', event => {
    const id = event.currentTarget.dataset.item
    store.set('cart', [...cart(), { id, quantity: 1 }])
    track('Product Added', { ...line({ id, quantity: 1 }), cart_id: 'cart-' + sessionId })
    location.href = '/cart'
  })
  on('#checkout', 'click', () => {
    const sums = totals(cart(), store.get('coupon', null))
    track('Checkout Started', { order_id: orderId(), value: sums.total, revenue: sums.revenue, shipping: sums.shipping, tax: sums.tax, discount: sums.discount, currency: 'JPY', products: cart().map(line) })
    document.querySelector('#confirm').classList.add('open')
  })
  on('#place-order', 'click', () => { store.set('order', { lines: cart(), coupon: store.get('coupon', null) }); store.set('cart', []); location.href = '/thanks' })
}
const orderId = () => 'SM-' + sessionId.toUpperCase()

function watchBanner() {
  const banner = document.querySelector('#coupon-banner')
  if (!banner) return
  const watcher = new IntersectionObserver(entries => {
    if (!entries.some(entry => entry.intersectionRatio >= 0.5)) return
    watcher.disconnect()
    track('Promotion Viewed', { promotion_id: 'autumn_coupon', name: '秋のうるおいクーポン', creative: 'coupon_banner', position: 'top_middle' })
  }, { threshold: [0.5] })
  watcher.observe(banner)
}

function announce({ path }) { // what a page load itself reports
  if (path === '/') track('Experiment Viewed', { experiment_id: 'top_first_view', experiment_name: 'トップのファーストビュー', variation_id: variantOf(visitorId) })
  if (path === '/list' && query.has('q')) track('Products Searched', { query: query.get('q') })
  if (path === '/item') { const { quantity, ...shown } = line({ id: query.get('id'), quantity: 1 }); track('Product Viewed', { ...shown, currency: 'JPY' }) }
  const order = store.get('order', null)
  if (path === '/thanks' && order) {
    const sums = totals(order.lines, order.coupon)
    track('Order Completed', { order_id: orderId(), total: sums.total, revenue: sums.revenue, shipping: sums.shipping, tax: sums.tax, discount: sums.discount, coupon: order.coupon, currency: 'JPY', products: order.lines.map(line) })
    localStorage.removeItem('order')
    localStorage.removeItem('coupon')
  }
}

function paint() { document.title = render(document.querySelector('#app'), view()); wire() }

paint()
const fonts = [['Zen Kaku Gothic New', 400], ['Zen Kaku Gothic New', 700], ['Zen Old Mincho', 600]].flatMap(([family, weight]) => ['japanese', 'latin'].map(script =>
  new FontFace(family, `url(/fonts/${family.replaceAll(' ', '-').toLowerCase()}-${weight}-${script}.woff2)`, { weight, ...(script === 'latin' && { unicodeRange: 'U+20-7E' }) })))
fonts.forEach(font => document.fonts.add(font))
await Promise.all([...fonts.map(font => font.load()), document.readyState === 'complete' || new Promise(done => addEventListener('load', done))])
start()
announce(view())
watchBanner()
window.ready = true
