// Command site makes a static site of the repository's pages, offline: `make docs`
// writes it into dist/site, and dist/site/index.html opens in any browser.
//
// Every Markdown file becomes a page at the same path (README.md becomes index.html);
// what pages link to besides is copied beside them, a directory as a list of its
// files. A page is one file: its style is inside, light or dark as the reader's system
// is, and it asks nothing of the network. A link that leads nowhere is an error, with
// the page and the link, and no site is written then.
//
// The list at the side of each page is docs/README.md's links, in their order.
package main
