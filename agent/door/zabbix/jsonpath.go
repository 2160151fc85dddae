package zabbix

import (
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// selectNodes walks a document along a path such as $.a['b'][0], $..name,
// $.list[*].x or $.list[1,2].first(). definite says that the path means one
// node at most.
func selectNodes(document any, path string) (nodes []any, definite bool, err error) {
	bad := unsupported("this proxy cannot use the JSONPath %q", path)
	rest, ok := strings.CutPrefix(strings.TrimSpace(path), "$")
	if !ok {
		return nil, false, bad
	}
	nodes, definite = []any{document}, true
	for rest != "" {
		deep := strings.HasPrefix(rest, "..")
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, "."), ".")
		if deep {
			nodes, definite = descendants(nodes), false
		}
		var names []string
		var any bool
		if strings.HasPrefix(rest, "[") {
			names, any, rest, ok = bracket(rest)
			if !ok {
				return nil, false, bad
			}
		} else {
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			word := rest[:end]
			rest = rest[end:]
			if word == "" || strings.ContainsAny(word, "?@ ") {
				return nil, false, bad
			}
			if function, is := strings.CutSuffix(word, "()"); is {
				if nodes, definite, ok = apply(function, nodes, definite); !ok {
					return nil, false, bad
				}
				continue
			}
			names, any = []string{word}, word == "*"
		}
		if any || len(names) > 1 {
			definite = false
		}
		nodes = children(nodes, names, any)
	}
	return nodes, definite, nil
}

// bracket reads ['a','b'], [0,1] or [*].
func bracket(s string) (names []string, any bool, rest string, ok bool) {
	for s = strings.TrimLeft(s[1:], " "); ; {
		switch {
		case s == "":
			return nil, false, "", false
		case s[0] == '\'' || s[0] == '"':
			end := strings.IndexByte(s[1:], s[0])
			if end < 0 {
				return nil, false, "", false
			}
			names, s = append(names, s[1:end+1]), s[end+2:]
		default:
			end := strings.IndexAny(s, ",]")
			if end < 0 {
				return nil, false, "", false
			}
			word := strings.TrimSpace(s[:end])
			if _, err := strconv.Atoi(word); err != nil && word != "*" {
				return nil, false, "", false // a slice or a filter
			}
			any = any || word == "*"
			names, s = append(names, word), s[end:]
		}
		s = strings.TrimLeft(s, " ")
		if strings.HasPrefix(s, "]") {
			return names, any, s[1:], true
		}
		if !strings.HasPrefix(s, ",") {
			return nil, false, "", false
		}
		s = strings.TrimLeft(s[1:], " ")
	}
}

func children(nodes []any, names []string, all bool) (found []any) {
	for _, node := range nodes {
		switch n := node.(type) {
		case map[string]any:
			if all {
				names = slices.Sorted(maps.Keys(n))
			}
			for _, name := range names {
				if child, ok := n[name]; ok {
					found = append(found, child)
				}
			}
		case []any:
			if all {
				found = append(found, n...)
				continue
			}
			for _, name := range names {
				i, err := strconv.Atoi(name)
				if i < 0 {
					i += len(n)
				}
				if err == nil && i >= 0 && i < len(n) {
					found = append(found, n[i])
				}
			}
		}
	}
	return found
}

// descendants are nodes and all that is below them.
func descendants(nodes []any) (all []any) {
	for _, node := range nodes {
		all = append(all, node)
		all = append(all, descendants(children([]any{node}, nil, true))...)
	}
	return all
}

// apply is a function at the end of a path. Of a definite path it looks at the
// elements of the one node.
func apply(function string, nodes []any, definite bool) ([]any, bool, bool) {
	if definite && len(nodes) == 1 {
		if list, ok := nodes[0].([]any); ok {
			nodes = list
		}
	}
	if function == "length" {
		return []any{json.Number(strconv.Itoa(len(nodes)))}, true, true
	}
	if len(nodes) == 0 {
		return nil, true, true
	}
	if function == "first" {
		return nodes[:1], true, true
	}
	sum, least, most := new(big.Float), new(big.Float), new(big.Float)
	for i, node := range nodes {
		text, err := plain(node)
		f, ok := new(big.Float).SetString(text)
		if err != nil || !ok {
			return nil, false, false
		}
		sum.Add(sum, f)
		if i == 0 || f.Cmp(least) < 0 {
			least = f
		}
		if i == 0 || f.Cmp(most) > 0 {
			most = f
		}
	}
	switch function {
	case "sum":
	case "min":
		sum = least
	case "max":
		sum = most
	case "avg":
		sum.Quo(sum, big.NewFloat(float64(len(nodes))))
	default:
		return nil, false, false
	}
	return []any{json.Number(sum.Text('g', 17))}, true, true
}
