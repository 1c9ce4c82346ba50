-- A small company: enough to read, mask, change and lose.
CREATE TABLE customers (
  id int PRIMARY KEY,
  name text NOT NULL,
  email text NOT NULL,
  city text NOT NULL
);
CREATE TABLE orders (
  id int PRIMARY KEY,
  customer_id int NOT NULL REFERENCES customers (id),
  placed date NOT NULL,
  total numeric(10, 2) NOT NULL,
  status text NOT NULL
);
CREATE TABLE cards (
  id int PRIMARY KEY,
  customer_id int NOT NULL REFERENCES customers (id),
  pan text NOT NULL,
  expires date NOT NULL
);
CREATE TABLE employees (
  id int PRIMARY KEY,
  name text NOT NULL,
  title text NOT NULL,
  salary numeric(10, 2) NOT NULL
);

INSERT INTO customers
SELECT n,
  (ARRAY['Ada', 'Bruno', 'Chidi', 'Dana', 'Elif', 'Femi', 'Grete', 'Hiro'])[1 + n % 8] || ' ' || n,
  lower((ARRAY['Ada', 'Bruno', 'Chidi', 'Dana', 'Elif', 'Femi', 'Grete', 'Hiro'])[1 + n % 8]) || n || '@example.org',
  (ARRAY['Lisbon', 'Oslo', 'Pune', 'Quito'])[1 + n % 4]
FROM generate_series(1, 500) AS n;

INSERT INTO orders
SELECT n, 1 + n % 500, date '2026-01-01' + n % 300, (n * 37 % 90000) / 100.0 + 5,
  (ARRAY['new', 'paid', 'shipped', 'returned'])[1 + n % 4]
FROM generate_series(1, 20000) AS n;

INSERT INTO cards
SELECT n, n, '4000' || lpad((n::bigint * 7919 % 1000000000000)::text, 12, '0'), date '2028-01-31' + n % 700
FROM generate_series(1, 500) AS n;

INSERT INTO employees
SELECT n, 'Employee ' || n, (ARRAY['clerk', 'engineer', 'manager'])[1 + n % 3], 30000 + n * 500
FROM generate_series(1, 40) AS n;

CREATE INDEX orders_customer ON orders (customer_id);

-- Dynamic SQL inside: nobody can say what it does without running it.
CREATE FUNCTION tidy_up() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DROP TABLE orders'; END $$;

ANALYZE;
