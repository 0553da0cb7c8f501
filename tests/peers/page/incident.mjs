// Looks at the page in an incident: incident.mjs BASE OUT RUNAWAY. One JSON line: {checks: [[what, holds, detail]]}.
import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [base, out, runaway] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
const checks = [];
const check = (what, holds, detail = "") => checks.push([what, Boolean(holds), detail]);

// text that is cut, or that lies outside of the screen
const cut = () => {
  const clipped = [...document.querySelectorAll("body *")].filter((one) => {
    const style = getComputedStyle(one);
    return one.clientWidth > 1 && one.scrollWidth > one.clientWidth + 1 && one.textContent.trim() && style.overflowX !== "visible";
  });
  const outside = [...document.querySelectorAll("main *")].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.width > 0 && one.children.length === 0 && one.textContent.trim() && (box.right > innerWidth + 1 || box.left < -1);
  });
  return [...clipped, ...outside].map((one) => `${one.tagName}.${one.className?.baseVal ?? one.className}: ${one.textContent.trim().slice(0, 60)}`);
};

const paths = { front: "/?window=1h", live: "/runs?state=live&sort=cost&window=1h", run: `/runs/${runaway}`, runs: "/runs?sort=cost", changes: "/changes", gateway: "/gateway" };
for (const width of [1280, 390])
  for (const scheme of ["light", "dark"]) {
    const context = await browser.newContext({ viewport: { width, height: width > 500 ? 900 : 844 }, colorScheme: scheme, javaScriptEnabled: true });
    const page = await context.newPage();
    for (const [name, path] of Object.entries(paths)) {
      await page.goto(base + path + (path.includes("?") ? "&" : "?") + "paused=1", { waitUntil: "load" });
      const at = `${width} px, ${scheme}: ${name}`;
      await page.screenshot({ path: `${out}/${name}-${width}-${scheme}.png`, fullPage: true });
      if (name === "front") await page.screenshot({ path: `${out}/first-${width}-${scheme}.png` });
      check(`${at} is no wider than the screen`, await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
      const lost = await page.evaluate(cut);
      check(`${at}: nothing is cut`, lost.length === 0, lost.slice(0, 8).join("; "));
      const { violations } = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ["violations"] })`);
      const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      check(`${at}: axe-core finds nothing serious`, serious.length === 0, serious.map(({ id, nodes }) => `${id} ${nodes[0].html.slice(0, 160)}`).join("; "));
    }
    await context.close();
  }

// ten seconds: what is on the first screen
for (const [width, height] of [[1280, 900], [390, 844]]) {
  const context = await browser.newContext({ viewport: { width, height } });
  const page = await context.newPage();
  await page.goto(`${base}/?window=1h&paused=1`);
  const seen = await page.evaluate(() => [...document.querySelectorAll("main .alerts li")]
    .filter((one) => one.getBoundingClientRect().bottom <= innerHeight)
    .map((one) => ({ text: one.innerText, links: [...one.querySelectorAll("a")].map((link) => link.href) })));
  const own = seen.find(({ text }) => text.includes("62 iterations, 1.24 × the limit of 50"));
  const whole = seen.map(({ text }) => text).join("\n");
  check(`${width} px: the first screen says which run, whose, why`, own && own.text.includes(runaway) && own.text.includes("northwind"), whole.slice(0, 600));
  check(`${width} px: and how much`, own && /\$\d/.test(own.text), own?.text);
  check(`${width} px: and leads to its trace`, own && own.links.some((link) => link.startsWith(`https://signoz.example/trace/${runaway}`)), own?.links);
  await context.close();
}

// without script: the page refreshes itself, live runs are sorted by cost, what is left out is said
const bare = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 1280, height: 900 } });
const page = await bare.newPage();
let loads = 0;
page.on("response", (response) => { if (new URL(response.url()).pathname === "/") loads += 1; });
await page.goto(`${base}/?window=1h`);
await new Promise((done) => setTimeout(done, 5000));
check("the page refreshes itself without script", loads >= 2, loads);
await page.close();
// a page of its own: the refresh of the last one would cut off its next navigation
const still = await bare.newPage();
await still.goto(`${base}/?window=1h&paused=1`);
const text = await still.textContent("main");
check("live runs that are not shown are said", /and 1 more live run\b/.test(text.replace(/\s+/g, " ")), text.match(/and \d+ more[^.]*/)?.[0]);
check("an unpriced run says so, and nothing is $0", text.includes("no price") && !/\$0(?![.\d])/.test(text), text.match(/.{60}\$0(?![.\d]).{20}/)?.[0]);
check("calls without usage are said with what to switch on", /2 model calls were answered without usage/.test(text) && text.includes("stream_options.include_usage"), "");
await still.goto(`${base}/runs?state=live&sort=cost&window=1h&paused=1`);
const costs = await still.$$eval('td[data-label="cost"]', (all) => all.map((one) => parseFloat(one.textContent.replace(/[$,]/g, "")) || 0));
check("live runs are sorted by cost", costs.length === 11 && costs.every((cost, at) => at === 0 || cost <= costs[at - 1]), costs);

console.log(JSON.stringify({ checks }));
await browser.close();
