// Purpose: measures element boxes and takes page pictures -> data/demo/layouts.csv, data/demo/media/, and the sizes the planner needs.
import { writeFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import UPNG from 'upng-js'
import { launch, openContext, origin, demo, root } from './browser.js'
import { places, viewports, member } from './places.js'
import { variantOf } from '../shop/assign.js'

const visitorWith = version => ['measure-1', 'measure-2', 'measure-3', 'measure-4', 'measure-5', 'measure-6'].find(id => variantOf(id) === version) ?? 'measure-1'

export async function openPlace(browser, place, viewport, version) {
  const cookies = { visitor: visitorWith(version), session: 'measure', ...(place.login && { member: JSON.stringify(member) }) }
  const context = await openContext(browser, viewport, { cookies })
  const page = await context.newPage()
  await page.goto(origin + '/list')
  await page.evaluate(() => localStorage.setItem('cart', JSON.stringify([{ id: 'P03', quantity: 1 }, { id: 'P05', quantity: 1 }])))
  if (place.url === '/thanks' || !place.url.startsWith('/cart')) await page.evaluate(() => localStorage.removeItem('cart'))
  await page.goto(origin + place.url)
  await page.waitForFunction(() => window.ready)
  return page
}

const measure = selectors => {
  const seen = Object.fromEntries(selectors.map(selector => {
    const box = document.querySelector(selector)?.getBoundingClientRect()
    return [selector, box && box.width ? [box.x, box.y, box.width, box.height].map(Math.round) : null]
  }))
  return { boxes: seen, w: document.documentElement.scrollWidth, h: document.documentElement.scrollHeight }
}

function small(png) { // 256 colours at most, fewer when the file stays big
  const image = UPNG.decode(png)
  const rgba = UPNG.toRGBA8(image)
  for (const colours of [256, 128, 64, 32]) {
    const packed = Buffer.from(UPNG.encode(rgba, image.width, image.height, colours))
    if (packed.length <= 150_000 || colours === 32) return packed
  }
}

async function heightsAgree(browser) { // the planner counts on one height per device, whatever the width
  const widths = { desktop: [[1280, 720], [1440, 810], [1536, 730]], mobile: [[360, 740], [375, 667], [390, 844], [393, 851], [412, 915]] }
  const sizes = { desktop: {}, mobile: {} }
  for (const device of Object.keys(widths)) for (const path of ['/', '/list']) {
    const seen = []
    for (const [width, height] of widths[device]) for (const version of places[path].versions) {
      const page = await openPlace(browser, places[path], { width, height, mobile: device === 'mobile' }, version)
      const { boxes, h, w } = await page.evaluate(measure, ['#coupon-banner'])
      if (w !== width) throw new Error(`${path} at ${width} px is ${w} px wide: it must not scroll sideways`)
      seen.push(JSON.stringify({ height: h, ...(boxes['#coupon-banner'] && { banner: [boxes['#coupon-banner'][1], boxes['#coupon-banner'][3]] }) }))
      await page.context().close()
    }
    if (new Set(seen).size > 1) throw new Error(`${path} on ${device} changes its height with the width: ${seen.join(' ')}`)
    sizes[device][path] = JSON.parse(seen[0])
  }
  return sizes
}

export async function layouts() {
  const browser = await launch()
  mkdirSync(join(demo, 'media'), { recursive: true })
  const rows = ['page,device,version,valid_from,valid_to,selector,label,x,y,w,h,page_w,page_h,screenshot']
  for (const [path, place] of Object.entries(places)) for (const [device, viewport] of Object.entries(viewports)) for (const version of place.versions) {
    const page = await openPlace(browser, place, viewport, version)
    const { boxes, w, h } = await page.evaluate(measure, Object.keys(place.elements))
    const picture = `media/${place.file}-${device}-${version}.png`
    writeFileSync(join(demo, picture), small(await page.screenshot({ fullPage: true })))
    for (const [selector, label] of Object.entries(place.elements)) if (boxes[selector]) rows.push([path, device, version, '2026-09-01T00:00:00Z', '', selector, label, ...boxes[selector], w, h, picture].join(','))
    await page.context().close()
  }
  writeFileSync(join(demo, 'layouts.csv'), rows.join('\n') + '\n')
  const sizes = await heightsAgree(browser)
  for (const device of Object.keys(viewports)) sizes[device].contract = Number(rows.find(row => row.startsWith(`/mypage,${device},1,`) && row.includes(',#contract,')).split(',')[8])
  writeFileSync(join(root, 'src/sizes.json'), JSON.stringify(sizes, null, 1) + '\n')
  await browser.close()
}

if (process.argv[1] === new URL(import.meta.url).pathname) await layouts()
