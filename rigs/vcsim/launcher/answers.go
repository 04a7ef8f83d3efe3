package main

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

const envelope = `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"
 xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<soapenv:Body>%s</soapenv:Body></soapenv:Envelope>`

func answerOf(method, content string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	body := fmt.Sprintf(`<%[1]sResponse xmlns="urn:vim25">%[2]s</%[1]sResponse>`, method, content)
	answer.Header().Set("Content-Type", "text/xml; charset=utf-8")
	fmt.Fprintf(answer, envelope, body)
	return answer
}

func taskAnswer(method string, task types.ManagedObjectReference) *httptest.ResponseRecorder {
	return answerOf(method, fmt.Sprintf(`<returnval type="Task">%s</returnval>`, task.Value))
}

func faultAnswer(name, text string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	answer.Code = http.StatusInternalServerError
	body := fmt.Sprintf(`<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>%s</faultstring>
<detail><%[2]sFault xmlns="urn:vim25" xsi:type="%[2]s"></%[2]sFault></detail></soapenv:Fault>`, html.EscapeString(text), name)
	fmt.Fprintf(answer.Body, envelope, body)
	return answer
}

type referenced types.ManagedObjectReference

func (r referenced) Reference() types.ManagedObjectReference { return types.ManagedObjectReference(r) }

var _ mo.Reference = referenced{}

// failing is a task that has failed with this fault.
func failing(on types.ManagedObjectReference, name string, fault types.BaseMethodFault) types.ManagedObjectReference {
	task := simulator.CreateTask(referenced(on), name, func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		return nil, fault
	})
	return task.Run()
}

func failedTask(body []byte, broken *rule) *httptest.ResponseRecorder {
	method, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil {
		return faultAnswer("InvalidRequest", err.Error())
	}
	return taskAnswer(method.Name, failing(method.This, "injected", newFault(broken.Fault)))
}

func (f *front) newTicket(body []byte) *httptest.ResponseRecorder {
	method, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil {
		return faultAnswer("InvalidRequest", err.Error())
	}
	spec := method.Body.(*types.AcquireGenericServiceTicket).Spec.(*types.SessionManagerHttpServiceRequestSpec)
	wanted, err := url.Parse(spec.Url)
	if err != nil {
		return faultAnswer("InvalidArgument", spec.Url)
	}
	id := newID()
	f.mu.Lock()
	f.tickets[id] = ticket{method: spec.Method, url: wanted}
	f.mu.Unlock()
	return answerOf("AcquireGenericServiceTicket", fmt.Sprintf(
		`<returnval><id>%s</id><hostName>%s</hostName><sslThumbprint>%s</sslThumbprint></returnval>`,
		id, f.setup.Listen, f.thumbprint()))
}
