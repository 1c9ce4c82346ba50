-- to_jsonb of the column
SELECT to_jsonb(ssn) FROM patients

-- row_to_json
SELECT row_to_json(p) FROM patients p

-- to_jsonb of the row
SELECT to_jsonb(p) FROM patients p

-- to_jsonb of the row without it tells nothing new but reads it
SELECT to_jsonb(p) - 'ssn' FROM patients p

-- json_build_object
SELECT json_build_object('k', ssn) FROM patients

-- jsonb_build_array
SELECT jsonb_build_array(ssn, 1) FROM patients

-- JSON_OBJECT constructor | min=16
SELECT JSON_OBJECT('k': ssn) FROM patients

-- JSON_ARRAY constructor | min=16
SELECT JSON_ARRAY(ssn) FROM patients

-- JSON_ARRAY of a query | min=16
SELECT JSON_ARRAY(SELECT ssn FROM patients)

-- JSON_ARRAYAGG | min=16
SELECT JSON_ARRAYAGG(ssn) FROM patients

-- JSON_OBJECTAGG | min=16
SELECT JSON_OBJECTAGG(id: ssn) FROM patients

-- JSON_SCALAR | min=17
SELECT JSON_SCALAR(ssn) FROM patients

-- JSON_SERIALIZE | min=17
SELECT JSON_SERIALIZE(notes) FROM patients

-- JSON_VALUE | min=17
SELECT JSON_VALUE(notes, '$.cause') FROM patients

-- JSON_QUERY | min=17
SELECT JSON_QUERY(notes, '$.list') FROM patients

-- JSON_EXISTS | min=17
SELECT id, JSON_EXISTS(notes, '$.cause ? (@ starts with "1")') FROM patients

-- JSON_TABLE | min=17
SELECT t.* FROM patients, JSON_TABLE(notes, '$' COLUMNS (cause text PATH '$.cause')) t

-- JSON_TABLE with a passed value | min=17
SELECT t.* FROM patients, JSON_TABLE('[1]'::jsonb, '$[*]' PASSING ssn AS s COLUMNS (c text PATH '$s')) t

-- IS JSON | min=16
SELECT id, ssn IS JSON, email IS JSON SCALAR, (notes ->> 'cause') > '5' FROM patients

-- json_each
SELECT e.key, e.value FROM patients, json_each_text(doc) e

-- jsonb_set
SELECT jsonb_set('{}', '{a}', to_jsonb(ssn)) FROM patients

-- jsonb concatenation
SELECT notes || '{"a": 1}' FROM patients

-- jsonb minus
SELECT notes - 'list' FROM patients

-- jsonb pretty
SELECT jsonb_pretty(notes) FROM patients

-- jsonb keys by value
SELECT jsonb_object_keys(jsonb_build_object(ssn, 1)) FROM patients

-- jsonb path with variables
SELECT jsonb_path_query('{}', '$x', jsonb_build_object('x', ssn)) FROM patients

-- jsonb path match
SELECT jsonb_path_match(notes, '$.cause starts with "1"') FROM patients

-- jsonb exists
SELECT id, jsonb_build_object(ssn, 1) ? '1' FROM patients WHERE notes ->> 'cause' > '5'

-- xmlelement
SELECT xmlelement(name s, ssn) FROM patients

-- xmlelement's attribute
SELECT xmlelement(name s, xmlattributes(ssn AS a)) FROM patients

-- xmlforest
SELECT xmlforest(ssn, email) FROM patients

-- xmlconcat
SELECT xmlconcat(xmlelement(name a), xmlelement(name b, ssn)) FROM patients

-- xmlcomment
SELECT xmlcomment(ssn) FROM patients

-- xmlpi
SELECT xmlpi(name a, ssn) FROM patients

-- xmlserialize
SELECT xmlserialize(CONTENT xmlelement(name s, ssn) AS text) FROM patients

-- xpath
SELECT xpath('/s/text()', xmlelement(name s, ssn)) FROM patients

-- xmlexists
SELECT xmlexists('/s[starts-with(text(), "1")]' PASSING xmlelement(name s, ssn)) FROM patients

-- XMLTABLE
SELECT t.* FROM patients, XMLTABLE('/s' PASSING xmlelement(name s, ssn) COLUMNS c text PATH '.') t

-- XMLTABLE's default
SELECT t.* FROM patients, XMLTABLE('/s' PASSING '<s/>' COLUMNS c text PATH 'x' DEFAULT ssn) t

-- query_to_xml
SELECT query_to_xml('SELECT ssn FROM patients', true, false, '')

-- query_to_xml with a computed text
SELECT query_to_xml('SELECT ' || 's' || 'sn FROM patients', true, false, '')

-- query_to_xml_and_xmlschema
SELECT query_to_xml_and_xmlschema('SELECT ssn FROM patients', true, false, '')

-- table_to_xml
SELECT table_to_xml('patients', true, false, '')

-- schema_to_xml
SELECT schema_to_xml('public', true, false, '')

-- database_to_xml
SELECT database_to_xml(true, false, '')

-- cursor_to_xml
BEGIN
DECLARE k CURSOR FOR SELECT ssn FROM patients
SELECT cursor_to_xml('k', 100, true, false, '')
COMMIT

-- query_to_xml in a condition
SELECT id FROM wards WHERE query_to_xml('SELECT ssn FROM patients', true, false, '')::text LIKE '%<ssn>1%' ORDER BY id

-- xpath_table | ext=xml2
SELECT * FROM tools.xpath_table('id', '''<a>'' || ssn || ''</a>''', 'patients', '/a', 'ssn IS NOT NULL') AS t(id int, x text)

-- xml2's xpath_string | ext=xml2
SELECT tools.xpath_string('<a>' || ssn || '</a>', '/a') FROM patients

-- a jsonb aggregate of pairs
SELECT json_object_agg(name, ssn) FROM patients

-- json_object of arrays
SELECT json_object(ARRAY['a', ssn]) FROM patients WHERE ssn IS NOT NULL

-- json_populate_recordset
SELECT r.ssn FROM patients p, jsonb_populate_recordset(NULL::person, jsonb_build_array(to_jsonb(p))) r

-- json_to_recordset
SELECT * FROM patients p, json_to_recordset(json_build_array(row_to_json(p))) AS r(ssn text)

-- jsonb in a tsvector
SELECT jsonb_to_tsvector('simple', notes, '"all"') FROM patients
