package getopt_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/culvert-net/culvert/lab/internal/getopt"
)

func TestParse(t *testing.T) {
	long := map[string]string{"count": "", "number": "#", "wait": "w:", "words": ""}
	for name, c := range map[string]struct {
		args     []string
		options  []getopt.Option
		operands []string
		err      string
	}{
		"options behind operands":       {[]string{"host", "-n"}, []getopt.Option{{Name: "n"}}, []string{"host"}, ""},
		"several in a word":             {[]string{"-nc3"}, []getopt.Option{{Name: "n"}, {Name: "c", Value: "3"}}, nil, ""},
		"a value in the next word":      {[]string{"-c", "-3"}, []getopt.Option{{Name: "c", Value: "-3"}}, nil, ""},
		"the end of options":            {[]string{"-n", "--", "-c"}, []getopt.Option{{Name: "n"}}, []string{"-c"}, ""},
		"a lone dash":                   {[]string{"-"}, nil, []string{"-"}, ""},
		"a long one that has a letter":  {[]string{"--number", "--wait=2"}, []getopt.Option{{Name: "#"}, {Name: "w", Value: "2"}}, nil, ""},
		"a long one, shortened":         {[]string{"--cou"}, []getopt.Option{{Name: "count"}}, nil, ""},
		"unknown":                       {[]string{"-nY"}, []getopt.Option{{Name: "n"}}, nil, "invalid option -- 'Y'"},
		"no value":                      {[]string{"-c"}, nil, nil, "option requires an argument -- 'c'"},
		"long and unknown":              {[]string{"--foo"}, nil, nil, "unrecognized option '--foo'"},
		"long and ambiguous":            {[]string{"--w"}, nil, nil, "option '--w' is ambiguous; possibilities: '--wait' '--words'"},
		"long without its value":        {[]string{"--wait"}, nil, nil, "option '--wait' requires an argument"},
		"long with a value of no use":   {[]string{"--count=2"}, nil, nil, "option '--count' doesn't allow an argument"},
		"a colon is no option's letter": {[]string{"-:"}, nil, nil, "invalid option -- ':'"},
	} {
		t.Run(name, func(t *testing.T) {
			options, operands, err := getopt.Parse(c.args, "nc:", long)
			assert.Equal(t, c.options, options)
			if c.err != "" {
				assert.EqualError(t, err, c.err)
				return
			}
			assert.NoError(t, err)
			assert.Equal(t, c.operands, operands)
		})
	}
}
