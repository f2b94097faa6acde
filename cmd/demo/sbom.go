package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"acrpromote/internal/testimage"
)

// spdx is the program's bill of materials, SPDX 2.3: each platform's binary
// with its checksum, and the modules that Go itself recorded in them.
func spdx(version string, binaries []binary, now time.Time) []byte {
	type object = map[string]any
	var list, relations []object
	relate := func(from, kind, to string) {
		relations = append(relations, object{"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to})
	}
	ids := map[string]string{} // of modules, by purl
	add := func(name, version, purl, purpose string) (id string, entry object) {
		id = fmt.Sprintf("SPDXRef-Package-%d", len(list))
		entry = object{"SPDXID": id, "name": name, "versionInfo": version, "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
			"primaryPackagePurpose": purpose,
			"externalRefs":          []object{{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}}}
		list = append(list, entry)
		return id, entry
	}
	for _, b := range binaries {
		purl := fmt.Sprintf("pkg:golang/%s@%s?goos=%s&goarch=%s", b.info.Main.Path, version, b.platform.os, b.platform.architecture)
		main, entry := add("acrpromote ("+b.platform.String()+")", version, purl, "APPLICATION")
		sum := sha256.Sum256(b.content)
		entry["checksums"] = []object{{"algorithm": "SHA256", "checksumValue": hex.EncodeToString(sum[:])}}
		relate("SPDXRef-DOCUMENT", "DESCRIBES", main)
		modules := map[string]string{"stdlib": strings.TrimPrefix(b.info.GoVersion, "go")}
		for _, m := range b.info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			modules[m.Path] = m.Version
		}
		for _, path := range sorted(modules) {
			purl := "pkg:golang/" + strings.ToLower(path) + "@" + modules[path]
			if ids[purl] == "" {
				ids[purl], _ = add(path, modules[path], purl, "LIBRARY")
			}
			relate(main, "DEPENDS_ON", ids[purl])
		}
	}
	return encode(object{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "acrpromote-" + version,
		"documentNamespace": "https://example.com/spdx/acrpromote-" + version + "-" + testimage.Digest(binaries[0].content)[7:],
		"creationInfo":      object{"created": now.UTC().Format(time.RFC3339), "creators": []string{"Tool: acrpromote-demo"}},
		"packages":          list, "relationships": relations,
	})
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
