// The audit page in Chromium: node audit.mjs URL SESSION TEXT FOLDER. Prints {"check", "holds", "detail"} a line; screenshots go to FOLDER.
// With script and without, 360 and 1280 px wide, light and dark; axe-core looks at each page.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import puppeteer from "puppeteer-core";

const [url, session, text, folder] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const { origin, pathname } = new URL(url);
// everything lies below a path that only the printed address tells
const home = `${origin}${pathname}`;
const check = (what, holds, detail = "") => console.log(JSON.stringify({ check: what, holds: Boolean(holds), detail: String(detail).slice(0, 800) }));
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

// what a page asks for, says on its console, or fails at
const watched = (page) => {
  const seen = { foreign: [], said: [] };
  page.on("request", (request) => request.url().startsWith(origin) || seen.foreign.push(request.url()));
  page.on("console", (message) => ["error", "warn"].includes(message.type()) && seen.said.push(`${message.text()} ${message.location().url ?? ""}`));
  page.on("pageerror", (error) => seen.said.push(error.message));
  return seen;
};
const shown = (page) => page.$eval("body", (body) => body.innerText);

try {
  const first = await browser.createBrowserContext();
  const page = await first.newPage();
  const entered = await page.goto(url);
  check("the printed address leads in, and the token leaves the address bar", entered.status() === 200 && page.url() === home && pathname.length > 20, page.url());
  const cookies = await first.cookies();
  check("one cookie, no script may read it, no other site sends it", cookies.length === 1 && cookies[0].httpOnly && cookies[0].sameSite === "Strict", JSON.stringify(cookies.map(({ value, ...rest }) => rest)));
  check("its name is the port's, its path this page's alone", cookies[0].name === `audit-${new URL(url).port}` && cookies[0].path === pathname, `${cookies[0].name} ${cookies[0].path}`);
  check("outside of that path it is not sent", (await page.goto(`${origin}/`)).status() === 403);
  const stranger = await (await browser.createBrowserContext()).newPage();
  check("the address works once", (await stranger.goto(url)).status() === 403);
  check("without the cookie nothing is shown", (await stranger.goto(`${home}session?session=${session}`)).status() === 403 && !(await shown(stranger)).includes(text));

  // what a page of another origin can do with the auditor's browser
  const other = await first.newPage();
  await other.goto("data:text/html,<p>another site</p>");
  const reached = await other.evaluate(async (to) => { try { return (await (await fetch(to, { credentials: "include" })).text()).length; } catch { return "refused"; } }, home);
  check("another site's script reads nothing", reached === "refused", reached);
  await other.setContent(`<iframe src="${home}" style="width:600px;height:400px"></iframe>`);
  await new Promise((done) => setTimeout(done, 500));
  const framed = await Promise.all(other.frames().slice(1).map(async (frame) => { try { return await frame.$eval("body", (body) => body.innerText); } catch { return ""; } }));
  check("another site can't frame it", framed.every((inner) => !inner.includes("Audit vault")), framed.join().slice(0, 200));

  for (const script of [true, false])
    for (const width of [360, 1280])
      for (const scheme of script ? ["light", "dark"] : ["light"]) {
        const at = `${script ? "with" : "without"} script, ${width} px, ${scheme}`;
        const page = await first.newPage();
        const seen = watched(page);
        await page.setJavaScriptEnabled(script);
        await page.setViewport({ width, height: 800 });
        await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
        // a page that was loaded without script is looked at with it: the browser's own tools need it
        const visit = async (go) => {
          await page.setJavaScriptEnabled(script);
          await go();
          await page.setJavaScriptEnabled(true);
        };
        // with script as a person does, by click; without it a click can't be sent: the link's address is opened
        const follow = async (selector) => {
          if (script) return visit(() => Promise.all([page.waitForNavigation(), page.click(selector)]));
          const to = await page.$eval(selector, (link) => link.href);
          return visit(() => page.goto(to));
        };
        await visit(() => page.goto(home));
        const front = await shown(page);
        check(`${at}: sessions are listed, verification is told`, front.includes(session) && /verified: \d+ digests/.test(front), front);
        if (script) {
          await page.type('input[name="session"]', session);
          await visit(() => Promise.all([page.waitForNavigation(), page.click("button")]));
        } else await visit(() => page.goto(`${home}?session=${session}&user=&tool=&action=&issue=&since=`));
        const names = await page.$$eval("tbody a", (links) => links.map((link) => link.innerText));
        check(`${at}: the search finds the session alone`, names.length === 1 && names[0] === session, names);
        const pages = [["search", page.url()]];
        await follow("tbody a");
        pages.push(["session", page.url()]);
        check(`${at}: the session is readable, its prompt and all`, (await shown(page)).includes(text));
        check(`${at}: turns are listed`, (await page.$$("nav li a")).length > 0);
        await follow("nav li:last-child a");
        pages.push(["last turn", page.url()]);
        check(`${at}: the last turn is the current one`, (await page.$$("nav li:last-child a[aria-current]")).length === 1);
        pages.push(["verification", `${home}verification`]);
        for (const [name, where] of pages) {
          await visit(() => page.goto(where));
          const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
          check(`${at}: ${name} fits the width`, wide <= 0, wide);
          // axe needs script of its own, which the page's policy does not let in: it is evaluated from outside
          const found = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(({ html }) => html.slice(0, 120)) })))`);
          const serious = found.filter(({ impact }) => ["serious", "critical"].includes(impact));
          check(`${at}: ${name}: axe-core finds nothing serious`, serious.length === 0, JSON.stringify(serious));
          const scripts = await page.$$eval("script", (all) => all.length);
          check(`${at}: ${name} has no script`, scripts === 0, scripts);
          if (script && folder) await page.screenshot({ path: `${folder}/${name.replace(" ", "-")}-${width}-${scheme}.png`, fullPage: true });
        }
        check(`${at}: nothing is asked of anybody else`, seen.foreign.length === 0, seen.foreign);
        // a browser asks for an icon by itself
        const said = seen.said.filter((line) => !line.includes("favicon"));
        check(`${at}: the console is silent`, said.length === 0, said.join("; "));
        await page.close();
      }
} finally {
  await browser.close();
}
