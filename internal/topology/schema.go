package topology

import _ "embed"

//go:embed flow.schema.json
var schema string

// Schema is the JSON Schema (2020-12) of the flow file, for editors. It is made
// from the types of this package, and knows single values; what concerns
// several of them only Parse can tell.
func Schema() string { return schema }
