package workload

import (
	"errors"
	"fmt"

	"github.com/loadline/loadline/internal/scenario"
)

// need is what a workload needs of every row of its data set.
type need struct {
	// prompt: something to ask a model, as chat or as plain text.
	prompt, chat bool
	// field: a member for a placeholder; empty: none. line: without control characters, for a header.
	field string
	line  bool
}

// check reports what a row lacks.
func (n need) check(row []field, report func(error)) {
	if n.field != "" {
		n.checkField(row, report)
	}
	if !n.prompt {
		return
	}
	if _, err := limit(row); err != nil {
		report(err)
	}
	if err := n.checkPrompt(row); err != nil {
		report(err)
	}
}

// checkField wants the member that a placeholder names.
func (n need) checkField(row []field, report func(error)) {
	value := find(row, n.field)
	if value == nil {
		report(fmt.Errorf("no %q, which {{row.%s}} asks for", n.field, n.field))
		return
	}
	if !n.line || !isString(value) {
		return
	}
	text, err := unquote(nil, value)
	if err == nil {
		err = scenario.CheckHeaderValue(text)
	}
	if err != nil {
		report(fmt.Errorf("%q, which a header asks for: %w", n.field, err))
	}
}

// checkPrompt wants what a model is asked: for chat either form, messages before prompt; else a prompt.
func (n need) checkPrompt(row []field) error {
	if messages := find(row, "messages"); messages != nil && n.chat {
		return checkMessages(messages)
	}
	prompt := find(row, "prompt")
	switch {
	case prompt == nil && n.chat:
		return errors.New(`neither "prompt" nor "messages"`)
	case prompt == nil:
		return errors.New(`no "prompt" ("messages" need protocol openai-chat)`)
	case !isString(prompt) || isEmptyString(prompt):
		return errors.New(`"prompt" must be a string that is not empty`)
	}
	return nil
}

// checkMessages wants an array of objects with a role and content.
func checkMessages(messages []byte) error {
	if messages[0] != '[' {
		return errors.New(`"messages" must be an array`)
	}
	n := 0
	err := elements(messages, func(message []byte) error {
		n++
		return checkMessage(n, message)
	})
	if err == nil && n == 0 {
		return errors.New(`"messages" must not be empty`)
	}
	return err
}

func checkMessage(n int, message []byte) error {
	fields, err := members(message, nil)
	if err != nil {
		return fmt.Errorf(`"messages": number %d must be an object`, n)
	}
	if role := find(fields, "role"); !isString(role) || isEmptyString(role) {
		return fmt.Errorf(`"messages": number %d needs a "role", a string`, n)
	}
	// An array of parts is handed on as it is. A message that calls tools need not have content.
	content := find(fields, "content")
	if isString(content) || len(content) > 0 && content[0] == '[' || find(fields, "tool_calls") != nil {
		return nil
	}
	return fmt.Errorf(`"messages": number %d needs "content", a string or an array of parts`, n)
}

func isEmptyString(value []byte) bool { return len(value) == len(`""`) }
