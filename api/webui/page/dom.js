// Small things that every part of the page needs.

export const $ = id => document.getElementById(id)

// make returns an element with properties and children, texts among them.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('aria-') || name === 'role') element.setAttribute(name, value)
    else element[name] = value
  }
  element.append(...children)
  return element
}

// offer fills a select with values, or with [value, text] pairs, and keeps the choice
// where it still exists.
export function offer(select, values, chosen = select.value) {
  select.replaceChildren(...values.map(v => {
    const [value, text] = Array.isArray(v) ? v : [v, v]
    return new Option(text, value, value === chosen, value === chosen)
  }))
}

// choose selects a value regardless of case and reports whether it exists.
export function choose(select, value) {
  const wanted = String(value).toLowerCase()
  const found = [...select.options].find(o => o.value.toLowerCase() === wanted)
  if (found) select.value = found.value
  return found !== undefined
}

// later returns f as a function that waits until it has not been called for a while.
export function later(milliseconds, f) {
  let timer
  return (...args) => {
    clearTimeout(timer)
    timer = setTimeout(f, milliseconds, ...args)
  }
}

// saved and save keep a value over reloads of the page.
export function saved(key, otherwise) {
  try { return JSON.parse(localStorage.getItem(key)) ?? otherwise } catch { return otherwise }
}
export function save(key, value) {
  try { localStorage.setItem(key, JSON.stringify(value)) } catch { /* no room, or forbidden */ }
}

// announce tells users of screen readers what happened.
export function announce(text) {
  $('announcement').textContent = text
}

export function bytes(n) {
  if (n >= 1 << 30) return `${(n / (1 << 30)).toFixed(1)} GiB`
  if (n >= 1 << 20) return `${Math.round(n / (1 << 20))} MiB`
  return `${Math.max(1, Math.round(n / 1024))} KiB`
}

export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 90) return `${Math.round(seconds)} s`
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`
}
