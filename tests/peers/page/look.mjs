// Looks at the admin port's pages in a real browser: look.mjs BASE OUT LABEL. One JSON line: what was found.
import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [base, out, label] = process.argv.slice(2);
// pages that ask again every two seconds would go on while they are looked at
const paused = (path) => base + path + (path.includes("?") ? "&" : "?") + "paused=1";
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
const found = { violations: [], wide: [], console: [], foreign: [], dialogs: 0, texts: {}, clicks: null, cut: [], first: {} };

async function context(width, dark, script) {
  const made = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: dark ? "dark" : "light", javaScriptEnabled: script, deviceScaleFactor: 1 });
  const page = await made.newPage();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && found.console.push(message.text()));
  page.on("dialog", (dialog) => { found.dialogs += 1; dialog.dismiss(); });
  page.on("request", (request) => { if (!request.url().startsWith(base) && !request.url().startsWith("data:")) found.foreign.push(request.url()); });
  return page;
}

const first = await (await fetch(base + "/runs?sort=cost&window=24h", { headers: { accept: "application/json" } })).json();
const most_expensive = first.runs[0]?.id;
const paths = ["/", "/?window=1h", "/runs?sort=cost", "/changes", "/changes?by=issue", "/gateway", "/runs/nobody-has-this-id"];
if (most_expensive) paths.push("/runs/" + encodeURIComponent(most_expensive));

for (const [width, dark, script] of [[360, false, true], [1280, true, true], [1280, false, false], [360, true, false]]) {
  const page = await context(width, dark, script);
  for (const path of paths) {
    await page.goto(paused(path), { waitUntil: "load" });
    const name = `${label}-${width}${dark ? "-dark" : ""}${script ? "" : "-noscript"}`;
    if (path === "/" || path.startsWith("/runs/") || path === "/runs?sort=cost" || path === "/changes") {
      const short = path === "/" ? "front" : path.startsWith("/runs/nobody") ? "unknown" : path.startsWith("/runs/") ? "run" : path.startsWith("/changes") ? "changes" : "runs";
      await page.screenshot({ path: `${out}/${name}-${short}.png`, fullPage: true });
    }
    if (!script) {
      found.texts[`${width}${path}`] = await page.textContent("main, body");
      continue;
    }
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    if (overflow > 0) found.wide.push(`${width} ${path}: ${overflow} px`);
    // on a phone nobody can rest a pointer on a text that is cut; a `code.id` is short, a click selects all of it
    if (width === 360) {
      const cut = await page.evaluate(() => [...document.querySelectorAll("td, td *, ul.rows *, .card *")].filter((one) => !one.matches("code.id"))
        .filter((one) => one.clientWidth > 0 && one.scrollWidth > one.clientWidth && one.textContent.trim())
        .filter((one) => { const style = getComputedStyle(one); return ["hidden", "clip"].includes(style.overflowX) || style.textOverflow === "ellipsis"; })
        .map((one) => one.textContent.trim().slice(0, 60)));
      found.cut.push(...cut.map((text) => `${path}: ${text}`));
    }
    const result = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ["violations"] })`);
    for (const one of result.violations) found.violations.push({ path, width, id: one.id, impact: one.impact, where: one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)) });
  }
  await page.context().close();
}

if (most_expensive) {
  // from the number to the trace, as a person would: click the number, click the first trace
  const page = await context(1280, false, false);
  await page.goto(paused("/"));
  await page.click("text=Cost per run");
  const link = page.locator("table a[rel=noreferrer]").first();
  found.clicks = { second: page.url(), trace: await link.getAttribute("href") };
}
// what can be seen without scrolling, at a desk and on a phone
for (const [width, height] of [[1280, 900], [390, 844]]) {
  const page = await context(width, false, true);
  await page.setViewportSize({ width, height });
  await page.goto(paused("/?window=1h"));
  found.first[width] = await page.evaluate(() => [...document.querySelectorAll("main .alerts li")]
    .filter((one) => one.getBoundingClientRect().bottom <= innerHeight)
    .map((one) => ({ text: one.innerText, links: [...one.querySelectorAll("a")].map((link) => link.href) })));
}
console.log(JSON.stringify(found));
await browser.close();
