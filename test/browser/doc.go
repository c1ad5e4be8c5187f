// Package browser drives the dashboard in a real Chromium against a real server and real
// agents, as people use it: log in, apply, watch, approve, cancel, look things up.
//
// A page that says anything on the console, breaks the content security policy, asks another
// host for something or fails to load something fails its test. STAVILY_SCREENSHOTS names a
// directory in which a picture of every page is kept. Without Chromium the tests are skipped:
// apt-get install chromium.
package browser
