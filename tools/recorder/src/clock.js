// Purpose: set time. Runs in every page before its scripts: Date, performance.now and timers follow a clock that moves only when told.
export function setClock({ start, latency }) {
  if (location.protocol !== 'https:') return
  const RealDate = Date
  let now = localStorage.getItem('clock') ? Number(localStorage.getItem('clock')) + latency : start // a page starts a moment after the last one
  const born = now
  let timers = [], count = 0
  window.Date = class extends RealDate {
    constructor(...parts) { if (parts.length) super(...parts); else super(now) }
    static now() { return now }
  }
  performance.now = () => now - born
  const add = (call, delay, every, parts) => { timers.push({ id: ++count, at: now + Math.max(1, Number(delay) || 1), every, call: () => call(...parts) }); return count }
  window.setTimeout = (call, delay, ...parts) => add(call, delay, null, parts)
  window.setInterval = (call, delay, ...parts) => add(call, delay, Math.max(1, delay), parts)
  window.clearTimeout = window.clearInterval = id => { timers = timers.filter(timer => timer.id !== id) }
  localStorage.setItem('clock', now)
  window.advanceClock = milliseconds => {
    const target = now + milliseconds
    for (let due; (due = timers.filter(timer => timer.at <= target).sort((a, b) => a.at - b.at || a.id - b.id)[0]);) {
      now = Math.max(now, due.at)
      if (due.every) due.at += due.every
      else timers = timers.filter(timer => timer !== due)
      due.call()
    }
    now = target
    localStorage.setItem('clock', now)
  }
}
