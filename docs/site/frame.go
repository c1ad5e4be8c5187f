package main

import "html/template"

// frame is around each page. It names no other host.
var frame = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Title}} · Stavily</title>
<style>
:root { --text: #1d2433; --soft: #5b6474; --page: #fff; --side: #f4f6f9; --line: #d9dee7; --link: #0b5cad; --code: #eef1f5 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e3e7ee; --soft: #9aa4b5; --page: #14181f; --side: #1b212b; --line: #303947; --link: #7db6f5; --code: #222a36 }
}
* { box-sizing: border-box }
body { margin: 0; font: 16px/1.55 system-ui, sans-serif; color: var(--text); background: var(--page); display: grid; grid-template-columns: 17rem minmax(0, 1fr) }
nav { background: var(--side); border-right: 1px solid var(--line); padding: 1.5rem 1.2rem; min-height: 100vh; font-size: .92rem }
nav ul { list-style: none; margin: 1rem 0 0; padding: 0 }
nav li { margin: .35rem 0 }
nav .home { font-weight: 700; font-size: 1.1rem }
main { padding: 1.5rem 2.5rem 4rem; max-width: 70rem }
a { color: var(--link); text-decoration: none }
a:hover, a:focus-visible { text-decoration: underline }
h1, h2, h3 { line-height: 1.25; margin: 1.8em 0 .5em }
h1 { margin-top: 0 }
code, pre { font: .88em/1.45 ui-monospace, monospace; background: var(--code); border-radius: 4px }
code { padding: .1em .3em; overflow-wrap: anywhere }
pre { padding: .8rem 1rem; overflow-x: auto }
pre code { padding: 0; background: none; overflow-wrap: normal }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: .93rem }
th, td { border: 1px solid var(--line); padding: .35rem .6rem; text-align: left; vertical-align: top }
blockquote { margin: 0; padding-left: 1rem; border-left: 3px solid var(--line); color: var(--soft) }
@media (max-width: 50rem) { body { display: block } nav { min-height: 0; border-right: 0; border-bottom: 1px solid var(--line) } main { padding: 1.2rem } }
@media print { nav { display: none } body { display: block } }
</style>
<body>
<nav aria-label="Pages">
<a class="home" href="{{.Home}}">Stavily</a> · <a href="{{.Index}}">all pages</a>
<ul>{{range .Menu}}
<li><a href="{{.Target}}">{{.Title}}</a></li>{{end}}
</ul>
</nav>
<main>
{{.Body}}
</main>
</body>
</html>
`))
