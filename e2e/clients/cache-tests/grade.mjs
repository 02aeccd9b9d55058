// Runs http-cache-tests against the proxy at BASE and prints, for each case that applies to a proxy, its kind and its
// grade: a case whose dependencies were not passed is no pass, as on the suite's own pages (lib/display.mjs).
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import path from 'node:path'

const [modules, base] = process.argv.slice(2)
const suite = path.join(modules, 'http-cache-tests')
const load = file => import(pathToFileURL(path.join(suite, file)))
const fetch = createRequire(path.join(suite, 'cli.mjs'))('node-fetch')
const { runTests, getResults } = await load('client/runner.mjs')
const suites = (await load('tests/index.mjs')).default
suites.push((await load('tests/surrogate-control.mjs')).default)

// As many at once as the suite has: it mostly waits.
await runTests(suites, fetch, false, base, 1000)
const results = getResults()
const cases = new Map(suites.flatMap(suite => suite.tests).map(test => [test.id, test]))

function grade (test) {
  const result = results[test.id]
  for (const other of test.depends_on ?? []) {
    if (grade(cases.get(other)) !== 'pass') return `depends on ${other}`
  }
  return result === true ? 'pass' : result.join(': ')
}

const applying = [...cases.values()].filter(test => test.browser_only !== true)
const grades = applying.map(test => [test.id, { kind: test.kind ?? 'required', grade: grade(test) }])
process.stdout.write(JSON.stringify(Object.fromEntries(grades)))
