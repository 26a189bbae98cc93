package render

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// decode turns a YAML node into what JSON has: string keys, int64 and float64, no nulls in maps.
// A null in a manifest means "not set"; server-side apply would own it and never agree with a live
// object that leaves the field out.
func decode(n *yaml.Node) (map[string]any, error) {
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, err
	}
	clean, err := jsonValue(v)
	if err != nil {
		return nil, err
	}
	m, ok := clean.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("a %T is not an object", v)
	}
	return m, nil
}

func jsonValue(v any) (any, error) {
	switch v := v.(type) {
	case nil, string, bool, int64:
		return v, nil
	case int:
		return int64(v), nil
	case uint64:
		if v > math.MaxInt64 {
			return v, nil
		}
		return int64(v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%v is not a number that JSON has", v)
		}
		return v, nil
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	case []any:
		for i := range v {
			item, err := jsonValue(v[i])
			if err != nil {
				return nil, err
			}
			v[i] = item
		}
		return v, nil
	case map[string]any:
		for k, item := range v {
			if item == nil {
				delete(v, k)
				continue
			}
			clean, err := jsonValue(item)
			if err != nil {
				return nil, err
			}
			v[k] = clean
		}
		return v, nil
	case map[any]any:
		m := make(map[string]any, len(v))
		for k, item := range v {
			name, err := keyName(k)
			if err != nil {
				return nil, err
			}
			m[name] = item
		}
		return jsonValue(m)
	default:
		return nil, fmt.Errorf("a value of type %T", v)
	}
}

// keyName writes a key as JSON has it: "8080: web" in a ConfigMap has the key "8080".
func keyName(k any) (string, error) {
	switch k := k.(type) {
	case string:
		return k, nil
	case int:
		return strconv.Itoa(k), nil
	case bool:
		return strconv.FormatBool(k), nil
	case float64:
		return strconv.FormatFloat(k, 'g', -1, 64), nil
	default:
		return "", fmt.Errorf("a key of type %T", k)
	}
}
