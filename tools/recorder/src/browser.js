// Purpose: Chromium, and the shop served to it from disk under its public address (no port, no request leaves the machine).
import { chromium } from 'playwright-core'
import { readFileSync, existsSync, readdirSync } from 'node:fs'
import subsetFont from 'subset-font'
import { execSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { join, extname } from 'node:path'

export const root = fileURLToPath(new URL('..', import.meta.url))
export const demo = process.env.DEMO_OUT ?? join(root, '../../data/demo')
export const origin = 'https://shop.example'
const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.woff2': 'font/woff2' }
const styles = { '/': 'top', '/list': 'buy', '/item': 'buy', '/cart': 'buy', '/thanks': 'buy', '/mypage': 'mypage' } // page -> its style sheet

function fileOf(path) {
  if (path === '/rrweb.js') return join(root, 'node_modules/rrweb/umd/rrweb.min.js')
  return join(root, 'shop', styles[path] ? 'index.html' : path)
}

const shopText = readdirSync(join(root, 'shop')).map(name => readFileSync(join(root, 'shop', name), 'utf8')).join('')
const letters = [...new Set(shopText + Array.from({ length: 95 }, (_, code) => String.fromCharCode(32 + code)).join(''))].join('')
const fontFile = (name, weight, script) => readFileSync(join(root, `node_modules/@fontsource/${name}/files/${name}-${script}-${weight}-normal.woff2`))
const subset = (name, weight, script) => subsetFont(fontFile(name, weight, script), letters, { targetFormat: 'woff2' }) // a whole Japanese font costs half a second per page

async function bodyOf(path) {
  const font = path.match(/^\/fonts\/(zen-[a-z-]+)-(\d+)-(japanese|latin)\.woff2$/)
  if (font) return subset(...font.slice(1))
  const file = fileOf(path)
  if (styles[path]) return readFileSync(file, 'utf8').replace('/buy.css', `/${styles[path]}.css`)
  return existsSync(file) ? readFileSync(file) : null
}

const kept = new Map()
export async function answer(path) { // what the shop's server would answer
  if (!kept.has(path)) kept.set(path, bodyOf(path))
  const body = await kept.get(path)
  return body ? { status: 200, contentType: types[extname(path)] ?? types['.html'], body } : { status: 404, body: '' }
}

export function launch() {
  const executablePath = process.env.CHROMIUM ?? execSync('command -v chromium || command -v chromium-browser', { encoding: 'utf8' }).trim()
  return chromium.launch({
    executablePath,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-smooth-scrolling', '--hide-scrollbars', '--force-color-profile=srgb', '--font-render-hinting=none'],
  })
}

export async function openContext(browser, { width, height, mobile }, { login = null, cookies = {} } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, isMobile: mobile, hasTouch: mobile, deviceScaleFactor: 1, locale: 'ja-JP', timezoneId: 'Asia/Tokyo' })
  await context.addCookies(Object.entries(cookies).map(([name, value]) => ({ name, value: encodeURIComponent(value), url: origin })))
  await context.route('**/*', async route => {
    const url = new URL(route.request().url())
    if (url.origin !== origin) return route.abort()
    if (url.pathname === '/api/login') return route.fulfill({ json: login })
    return route.fulfill(await answer(url.pathname))
  })
  return context
}
