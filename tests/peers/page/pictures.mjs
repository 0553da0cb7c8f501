// Photographs pages: pictures.mjs BASE, and on standard input [{path, file, width, dark, scale, most}], heights in CSS pixels.
// Prints a JSON line per picture: {file, text, wide, cut}.
import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";

const base = process.argv[2];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
for (const { path, file, width, dark, scale, most } of JSON.parse(readFileSync(0, "utf8"))) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, deviceScaleFactor: scale, colorScheme: dark ? "dark" : "light" });
  const page = await context.newPage();
  // a page of live runs would load itself again while it is photographed; `?paused=1` would say so on the picture
  await page.route("**/*", async (route) => {
    const response = await route.fetch();
    const { refresh, ...headers } = response.headers();
    await route.fulfill({ response, headers });
  });
  await page.goto(base + path, { waitUntil: "load" });
  // the picture ends below the last part of the page that fits into the height
  const bottom = await page.evaluate((most) => {
    const ends = [...document.querySelectorAll("main section, main .card, footer")].map((one) => one.getBoundingClientRect().bottom);
    return Math.ceil(Math.max(...ends.filter((end) => end <= most)));
  }, most);
  const found = await page.evaluate(() => ({
    text: document.documentElement.textContent,
    wide: document.documentElement.scrollWidth - innerWidth,
    cut: [...document.querySelectorAll("body *")]
      .filter((one) => one.clientWidth > 1 && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX !== "visible")
      .map((one) => one.textContent.trim().slice(0, 60)).filter((text) => text),
  }));
  await page.screenshot({ path: file, fullPage: true, clip: { x: 0, y: 0, width, height: bottom + 8 } });
  console.log(JSON.stringify({ file, ...found }));
  await context.close();
}
await browser.close();
