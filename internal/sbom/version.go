package sbom

import (
	"cmp"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// comparison returns how versions of a type of packages are compared, as far as
// that is known: as those of Debian for the packages of distributions, else as
// semantic versions where both are, and as those of Debian where one is not.
func comparison(kind string) func(a, b string) int {
	switch kind {
	case "deb", "rpm", "apk", "alpm":
		return compareDebian
	}
	return func(a, b string) int {
		x, err := semver.NewVersion(a)
		if err != nil {
			return compareDebian(a, b)
		}
		y, err := semver.NewVersion(b)
		if err != nil {
			return compareDebian(a, b)
		}
		return cmp.Or(x.Compare(y), strings.Compare(a, b))
	}
}

// compareDebian compares versions in alternate runs of other characters and of
// digits. Of an epoch, which is missing where it is 0, nothing special is needed
// but that.
// https://www.debian.org/doc/debian-policy/ch-controlfields.html#version
func compareDebian(a, b string) int {
	x, y := withEpoch(a), withEpoch(b)
	for x != "" || y != "" {
		var c int
		if x, y, c = compareText(x, y); c != 0 {
			return c
		}
		if x, y, c = compareNumber(x, y); c != 0 {
			return c
		}
	}
	return strings.Compare(a, b)
}

func withEpoch(version string) string {
	if strings.Contains(version, ":") {
		return version
	}
	return "0:" + version
}

func digit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

// compareText compares what both versions have up to the next digit: letters sort
// before everything else, and a tilde before the end.
func compareText(x, y string) (restX, restY string, c int) {
	for (x != "" && !digit(x)) || (y != "" && !digit(y)) {
		if c := cmp.Compare(weight(x), weight(y)); c != 0 {
			return x, y, c
		}
		x, y = x[1:], y[1:]
	}
	return x, y, 0
}

func weight(s string) int {
	switch {
	case s == "", digit(s):
		return 0
	case s[0] == '~':
		return -1
	case s[0] >= 'a' && s[0] <= 'z', s[0] >= 'A' && s[0] <= 'Z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

func compareNumber(x, y string) (restX, restY string, c int) {
	number := func(s string) (number, rest string) {
		end := 0
		for digit(s[end:]) {
			end++
		}
		return strings.TrimLeft(s[:end], "0"), s[end:]
	}
	a, x := number(x)
	b, y := number(y)
	return x, y, cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}
