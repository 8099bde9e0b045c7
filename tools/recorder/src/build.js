// Purpose: makes all of data/demo: layouts and pictures, truth, shop.toml, and one recording per planned visit.
import { writeFileSync, mkdirSync, rmSync, existsSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { join } from 'node:path'
import { launch, demo } from './browser.js'
import { places } from './places.js'
import { seed, ranks } from './world.js'

const workers = Number(process.env.WORKERS ?? 4) // a visit mostly waits for the next frame, so several go side by side
const only = process.argv[2]

export function packed(events) { // gzip without time or system in its header: equal events give equal files
  const file = gzipSync(JSON.stringify(events), { level: 9 })
  file[9] = 255
  return file
}

function shopToml() {
  const pages = Object.entries(places).map(([path, { name }]) => `"${path}" = "${name}"`)
  return ['name = "SUMIHA(澄葉)"', 'timezone = "Asia/Tokyo"', 'currency = "JPY"', 'language = "ja"', `ranks = ${JSON.stringify(ranks).replaceAll(',', ', ')}`, '', '[pages]', ...pages].join('\n') + '\n'
}

async function recordAll({ anew }) {
  const { planShop } = await import('./plan.js') // reads the sizes that layouts.js has just measured
  const { drive } = await import('./drive.js')
  const folder = join(demo, 'recordings'), visits = planShop(seed), failed = []
  if (anew) rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const fileOf = visit => join(folder, visit.id + '.json.gz'), waiting = visits.filter(visit => !existsSync(fileOf(visit)))
  let restarts = 0
  const work = async () => {
    let browser = await launch()
    for (let visit; (visit = waiting.shift());) {
      try { writeFileSync(fileOf(visit), packed(await drive(browser, visit))) } catch (error) {
        if (!browser.isConnected() && ++restarts < 9) { browser = await launch(); waiting.unshift(visit) } // a browser that died is no fault of the visit
        else failed.push(`${visit.id}: ${error.message.split('\n')[0]}`)
      }
      if (waiting.length % 20 === 0) process.stdout.write(`\rvisits to record: ${waiting.length} `)
    }
    await browser.close()
  }
  await Promise.all(Array.from({ length: workers }, work))
  console.log()
  if (failed.length) throw new Error(`${failed.length} visits failed; npm run rest tries them again\n${failed.join('\n')}`)
}

mkdirSync(demo, { recursive: true })
writeFileSync(join(demo, 'shop.toml'), shopToml())
if (!only || only === 'layouts') await (await import('./layouts.js')).layouts()
if (!only || only === 'truth') (await import('./truth.js')).writeTruth(join(demo, 'truth.csv'))
if (!only || only === 'visits') await recordAll({ anew: true })
if (only === 'rest') await recordAll({ anew: false })
