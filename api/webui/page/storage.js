// The browser's database: the pictures that were made, and the pictures of the form.
// Where the browser allows none, everything lasts until the page is closed.

const version = 1
let opened

function database() {
  opened ??= new Promise(resolve => {
    const request = indexedDB.open('worker', version)
    request.onupgradeneeded = () => {
      request.result.createObjectStore('entries', { keyPath: 'id', autoIncrement: true }) // what the gallery shows
      request.result.createObjectStore('files') // the pictures, by the ids of their entries
      request.result.createObjectStore('drafts') // pictures of the form
    }
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => resolve(memory())
  }).catch(memory)
  return opened
}

// within runs f with stores in one transaction and returns what its request gives.
async function within(names, mode, f) {
  const db = await database()
  if (db instanceof Memory) return f(...names.map(name => db.store(name)))?.result
  return new Promise((resolve, reject) => {
    const transaction = db.transaction(names, mode)
    const request = f(...names.map(name => transaction.objectStore(name)))
    transaction.oncomplete = () => resolve(request?.result)
    transaction.onerror = transaction.onabort = () => reject(transaction.error)
  })
}

// entries are all pictures without their files, the oldest first.
export const entries = () => within(['entries'], 'readonly', store => store.getAll())

// add keeps a picture and returns the id of its entry. Where there is no room it fails and
// keeps nothing.
export const add = (entry, blob) => within(['entries', 'files'], 'readwrite', (entries, files) => {
  const request = entries.add(entry)
  request.onsuccess = () => files.put(blob, request.result)
  return request
})

export const file = id => within(['files'], 'readonly', store => store.get(id))

export const remove = ids => within(['entries', 'files'], 'readwrite', (entries, files) => {
  for (const id of ids) {
    entries.delete(id)
    files.delete(id)
  }
})

// draft and keepDraft hold what the form would lose with the page.
export const draft = name => within(['drafts'], 'readonly', store => store.get(name))
export const keepDraft = (name, value) => within(['drafts'], 'readwrite', store => value === null ? store.delete(name) : store.put(value, name))

// Memory stands in for the database. Its stores answer at once, by what looks like requests.
class Memory {
  stores = {}
  store(name) { return this.stores[name] ??= new MemoryStore() }
}

class MemoryStore {
  rows = new Map()
  next = 1
  getAll() { return { result: [...this.rows.values()] } }
  get(key) { return { result: this.rows.get(key) } }
  put(value, key) { this.rows.set(key, value) }
  delete(key) { this.rows.delete(key) }
  add(value) {
    const id = this.next++
    this.rows.set(id, { ...value, id })
    return { result: id, set onsuccess(f) { f() } }
  }
}

const memory = () => new Memory()
