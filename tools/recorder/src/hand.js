// Purpose: one visitor's hand: real mouse, wheel, touch and keyboard input, with set time moving on between the strokes.
const frame = page => page.evaluate(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))))

const settled = (page, from, wanted) => page.evaluate(async ([from, wanted]) => { // waits (real time) until the scroll has come and rests
  const next = () => new Promise(requestAnimationFrame)
  for (let tries = 0; tries < 12 && Math.abs(scrollY - wanted) > 1 && scrollY === from; tries++) await next()
  for (let last = -1; last !== scrollY;) { last = scrollY; await next() }
  return scrollY
}, [from, wanted])

const lookFor = selector => { // where the named element can be hit; else how far away it is
  const header = document.querySelector('header').getBoundingClientRect().bottom
  const nodes = [...document.querySelectorAll(selector)].filter(node => node.getClientRects().length && !node.disabled)
  const boxes = nodes.map(node => {
    const box = node.getBoundingClientRect(), fixed = Boolean(node.closest('header'))
    const top = Math.max(box.top, fixed ? 0 : header + 2), bottom = Math.min(box.bottom, innerHeight - 2)
    return { x: box.x, y: top, w: box.width, h: bottom - top, whole: box.height, from: box.top }
  })
  const seen = boxes.filter(box => box.h >= Math.min(40, box.whole * 0.9))
  return { seen, away: boxes[0] ? boxes[0].from - (innerHeight * 0.45) : null, y: scrollY, most: document.documentElement.scrollHeight - innerHeight }
}

export class Hand {
  constructor({ page, cdp, random, mobile, width, height }) {
    Object.assign(this, { page, cdp, random, mobile, width, height, now: 0 })
    this.x = width * random.between(0.3, 0.7)
    this.y = height * random.between(0.3, 0.6)
    this.stamp = 1000
  }
  async wait(milliseconds) {
    const whole = Math.ceil(milliseconds) // rounding down would leave a rest that never passes
    if (whole <= 0) return
    this.now += whole
    this.stamp += whole / 1000
    await this.page.evaluate(whole => advanceClock(whole), whole)
  }

  async move(x, y, seconds) { // a slightly bent path, about 16 positions a second
    const steps = Math.max(2, Math.round(seconds * 16)), fromX = this.x, fromY = this.y
    const bend = this.random.between(-0.12, 0.12), pause = seconds * 1000 / steps
    for (let step = 1; step <= steps; step++) {
      const part = (1 - Math.cos(Math.PI * step / steps)) / 2, arc = Math.sin(Math.PI * step / steps) * bend
      this.x = fromX + (x - fromX) * part - (y - fromY) * arc
      this.y = fromY + (y - fromY) * part + (x - fromX) * arc
      this.x = Math.min(this.width - 2, Math.max(1, this.x)); this.y = Math.min(this.height - 2, Math.max(1, this.y))
      await this.page.mouse.move(Math.round(this.x), Math.round(this.y))
      await this.wait(pause)
    }
  }
  near(reach) { // a point close by, kept inside the window
    const x = this.x + this.random.normal() * reach, y = this.y + this.random.normal() * reach * 0.6
    return [Math.min(this.width - 20, Math.max(20, x)), Math.min(this.height - 20, Math.max(110, y))]
  }

  touch(type, x, y) {
    return this.cdp.send('Input.dispatchTouchEvent', { type, timestamp: this.stamp, touchPoints: type === 'touchEnd' ? [] : [{ x: Math.round(x), y: Math.round(y) }] })
  }
  async drag(to) { // one finger stroke towards scroll position `to`; holds still before it lifts, so that nothing glides on
    const from = await this.page.evaluate(() => scrollY), down = to > from
    let y = this.height * (down ? this.random.between(0.68, 0.78) : this.random.between(0.35, 0.45)), at = from
    const x = this.width * this.random.between(0.55, 0.8), end = down ? this.height * 0.2 : this.height * 0.85
    if (Math.abs(to - from) < 2) return from // a touch that does not move would be a tap
    await this.touch('touchStart', x, y)
    await this.wait(30)
    for (let tries = 0; tries < 40 && Math.abs(at - to) >= 1 && (down ? y > end : y < end); tries++) {
      const stroke = Math.sign(to - at) * Math.min(Math.abs(to - at) + (tries ? 0 : 16), 46) // the first 15 px only start the gesture
      y -= stroke
      await this.touch('touchMove', x, y)
      at = await settled(this.page, at, at + stroke)
      await this.wait(40)
    }
    await this.wait(120)
    await this.touch('touchMove', x + 1, y)
    await this.wait(50)
    await this.touch('touchEnd')
    await frame(this.page)
    return this.page.evaluate(() => scrollY)
  }

  async scroll(to, seconds = 0.8) {
    if (this.mobile) {
      for (let tries = 0, at = -1; tries < 14 && Math.abs(at - to) >= 2; tries++) at = await this.drag(to)
      return
    }
    const from = await this.page.evaluate(() => scrollY), ticks = Math.max(1, Math.round(Math.abs(to - from) / 150))
    for (let tick = 1, at = from; tick <= ticks; tick++) {
      const next = Math.round(from + (to - from) * tick / ticks)
      await this.page.mouse.wheel(0, next - at)
      at = await settled(this.page, at, next)
      await this.wait(seconds * 1000 / ticks)
    }
  }

  async aim(selector, seconds) { // brings the pointer to a named element, scrolling back to it when it is out of sight
    let found = await this.page.evaluate(lookFor, selector)
    for (let tries = 0; !found.seen.length && found.away !== null && tries < 3; tries++) {
      await this.scroll(Math.min(found.most, Math.max(0, Math.round(found.y + found.away))), Math.min(1.2, seconds * 0.6))
      found = await this.page.evaluate(lookFor, selector)
    }
    if (!found.seen.length) throw new Error(`nothing to click at ${selector}`)
    const box = this.random.pick(found.seen)
    const x = box.x + box.w * (0.5 + 0.14 * Math.max(-2.5, Math.min(2.5, this.random.normal()))), y = box.y + box.h * (0.5 + 0.14 * Math.max(-2.5, Math.min(2.5, this.random.normal())))
    if (!this.mobile) await this.move(x, y, Math.min(0.7, seconds))
    return [x, y]
  }
  async press([x, y]) {
    if (this.mobile) { await this.touch('touchStart', x, y); await this.wait(70); await this.touch('touchEnd'); return frame(this.page).catch(() => {}) }
    await this.page.mouse.down()
    await this.wait(70)
    await this.page.mouse.up()
  }
  async click(selector, seconds = 0.5) { await this.press(await this.aim(selector, seconds)) }

  async type(text, pause) {
    for (const letter of text) { await this.page.keyboard.insertText(letter); await this.wait(this.random.between(0.7, 1.3) * pause) }
  }
}
