// Package memory has the Go runtime spend little memory on garbage, which Go by default does not: what lives
// in an agent is small, so the space above it is what the process is measured by.
//
// A heap below a floor is not collected at all, since rendering fills a small one in no time. Above the
// floor, garbage may be a quarter of what lives. And the process stays below the limit of its container, by
// collecting more often.
package memory
