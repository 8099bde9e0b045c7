"Made exports of carts, in the layout of the real ones, with the figures that they must give."
from __future__ import annotations

import csv
import io
import random

SHOPIFY = ("Name,Email,Financial Status,Paid at,Fulfillment Status,Fulfilled at,Accepts Marketing,Currency,Subtotal,Shipping,Taxes,Total,Discount Code,Discount Amount,Shipping Method,Created at,"
           "Lineitem quantity,Lineitem name,Lineitem price,Lineitem compare at price,Lineitem sku,Lineitem requires shipping,Lineitem taxable,Lineitem fulfillment status,"
           "Billing Name,Billing Street,Billing Address1,Billing Address2,Billing Company,Billing City,Billing Zip,Billing Province,Billing Country,Billing Phone,"
           "Shipping Name,Shipping Street,Shipping Address1,Shipping Address2,Shipping Company,Shipping City,Shipping Zip,Shipping Province,Shipping Country,Shipping Phone,"
           "Notes,Note Attributes,Cancelled at,Payment Method,Payment Reference,Refunded Amount,Vendor,Outstanding Balance,Employee,Location,Device ID,Id,Tags,Risk Level,Source,Lineitem discount,"
           "Tax 1 Name,Tax 1 Value,Phone,Receipt Number,Duties,Billing Province Name,Shipping Province Name,Payment ID,Payment Terms Name,Next Payment Due At,Payment References").split(",")

ECCUBE = ("注文ID,注文番号,会員ID,お名前(姓),お名前(名),お名前(セイ),お名前(メイ),会社名,郵便番号,都道府県(ID),都道府県(名称),住所1,住所2,メールアドレス,TEL,性別(ID),性別(名称),職業(ID),職業(名称),誕生日,ショップ用メモ欄,"
          "小計,値引き,送料,税金,合計,支払合計,対応状況(ID),対応状況(名称),支払方法(ID),支払方法(名称),受注日,入金日,注文詳細ID,商品ID,商品規格ID,商品名,商品コード,規格名1,規格名2,規格分類名1,規格分類名2,価格,個数,税率,税率ルール(ID),"
          "明細区分(ID),明細区分(名称),出荷ID,配送先_お名前(姓),配送先_お名前(名),配送先_お名前(セイ),配送先_お名前(メイ),配送先_会社名,配送先_郵便番号,配送先_都道府県(ID),配送先_都道府県(名称),配送先_住所1,配送先_住所2,配送先_TEL,"
          "配送業者(ID),配送業者(名称),お届け時間ID,お届け時間(名称),お届け希望日,送料,発送日,出荷伝票番号,配達用メモ,出荷メール送信日").split(",")

FUTURESHOP = ("受注コード,注文日時,処理状況区分,受注種別,会員番号,メールアドレス(メイン),氏名(姓),氏名(名),住所1,電話番号(メイン),請求合計金額,商品合計金額,消費税合計,包装手数料,送料,決済手数料,クール便手数料,その他手数料,決済方法,入金フラグ,"
              "ポイント利用の有無,ポイント利用額,割引合計金額(商品),割引合計金額(送料),商品番号,枝番号,商品名,販売単価,購入数量").split(",")

MAKESHOP = "日付,注文時間,注文番号,処理状況,注文者,注文者(振り仮名),注文者メールアドレス,注文者電話番号,会員ID,商品合計(税込),クーポン割引,使用ポイント,送料,手数料,商品コード,商品名,価格,個数".split(",")

PEOPLE = [("山田", "太郎", "ヤマダ", "タロウ"), ("佐藤", "花子", "サトウ", "ハナコ"), ("髙橋", "﨑", "タカハシ", "サキ")]   # 髙 and 﨑 exist in cp932 and not in plain Shift_JIS
ARTICLES = [("S-1", "美容液", 2000), ("C-1", "クリーム①", 1500), ("T-1", "お茶", 500)]


def yen(amount): return f"{amount:,}"   # with commas, as spreadsheets leave it


def written(header, lines, encoding="cp932") -> bytes:
    "A CSV with exactly this header; a line is a dictionary, or (by position) a list."
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\r\n")
    write.writerow(header)
    write.writerows([line if isinstance(line, list) else [line.get(h, "") for h in header] for line in lines])
    return out.getvalue().encode(encoding)


def person(i): return dict(zip(("sei", "mei", "kana_sei", "kana_mei"), PEOPLE[i % 3])) | dict(email=f"Guest{i % 40}@Example.jp", phone=f"090-1111-{i % 40:04d}")


def shopify(n=300, seed=1):
    "Lines, and what every order must come out as: order → (status, revenue, gross, number of lines)."
    draw, lines, truth = random.Random(seed), [], {}
    for i in range(n):
        bought = [(draw.randint(1, 3), *draw.choice(ARTICLES)) for _ in range(draw.randint(1, 4))]
        gross = sum(q*p for q, _, _, p in bought)
        code, on_top, shipping = draw.choice([0, 0, .1]), i % 10 == 9, draw.choice([0, 500])
        discount = round(gross*code)
        subtotal = gross - discount
        taxes = round(subtotal*.1) if on_top else round(subtotal/11)
        goods = subtotal + (taxes if on_top else 0)
        refund = draw.choice([0, 0, 0, 300, goods + shipping])
        state = "refunded" if refund == goods + shipping and refund else "partially_refunded" if refund else draw.choice(["paid", "paid", "pending", "voided"])
        cancelled = state == "voided" or i % 17 == 0
        p, name = person(i), f"#{1001 + i}"
        order = {"Email": p["email"] if i % 5 else "", "Phone": "" if i % 5 else p["phone"], "Financial Status": state, "Currency": "USD" if on_top else "JPY", "Subtotal": subtotal, "Shipping": shipping,
                 "Taxes": taxes, "Total": goods + shipping, "Discount Amount": discount, "Created at": f"2026-{i % 12 + 1:02d}-{i % 28 + 1:02d} 00:{i % 60:02d}:00 +0900", "Refunded Amount": refund,
                 "Cancelled at": "2026-12-31 10:00:00 +0900" if cancelled else "", "Id": 5_000_000 + i, "Source": draw.choice(["web", "pos"]), "Billing Name": p["sei"] + p["mei"], "Shipping Street": "千代田1-1"}
        for k, (q, sku, title, price) in enumerate(bought):
            lines.append((order if k == 0 else {"Email": order["Email"]}) | {"Name": name, "Lineitem quantity": q, "Lineitem name": title, "Lineitem price": price, "Lineitem sku": sku if i % 7 else ""})
        status = "cancelled" if cancelled or state in ("refunded", "voided") else "pending" if state == "pending" else "valid"
        truth[name] = (status, 0. if status == "cancelled" else float(max(goods - refund, 0)), float(gross + (taxes if on_top else 0)), len(bought))
    return lines, truth


ECCUBE_STATUS = {1: ("新規受付", "valid"), 3: ("注文取消し", "cancelled"), 4: ("対応中", "valid"), 5: ("発送済み", "valid"), 6: ("入金済み", "valid"), 7: ("決済処理中", "pending"), 8: ("購入処理中", "pending"), 9: ("返品", "cancelled")}


def eccube(n=200, seed=2):
    "Lines by position (送料 stands twice), and order → (status, revenue, points, fee, articles)."
    draw, lines, truth = random.Random(seed), [], {}
    first_fee, parcel_fee = [i for i, h in enumerate(ECCUBE) if h == "送料"]
    for i in range(n):
        rate = 8 if i % 4 == 0 else 10
        bought = [(draw.randint(1, 3), *draw.choice(ARTICLES)) for _ in range(draw.randint(1, 3))]
        subtotal = sum(q*round(p*(1 + rate/100)) for q, _, _, p in bought)
        coupon, points, fee, shipping = draw.choice([0, 200]), draw.choice([0, 0, 300]), draw.choice([0, 330]), draw.choice([0, 500])
        state = draw.choice([1, 1, 4, 5, 5, 5, 6, 3, 7, 8, 9])
        p, number, member = person(i), f"{i + 1}", "" if i % 6 == 0 else f"{i % 30 + 1}"
        if member: p |= dict(email=f"member{member}@example.jp", phone=f"03-0000-{int(member):04d}")   # what the list of members says too
        total = subtotal - coupon - points + fee + shipping
        order = {"注文ID": number, "注文番号": number, "会員ID": member, "お名前(姓)": p["sei"], "住所1": "千代田区", "誕生日": "1990-01-01 00:00:00", "メールアドレス": p["email"], "TEL": p["phone"],
                 "小計": subtotal, "値引き": coupon + points, "税金": 0, "合計": total, "支払合計": total, "対応状況(ID)": state, "対応状況(名称)": ECCUBE_STATUS[state][0], "受注日": f"2026-{i % 12 + 1:02d}-{i % 28 + 1:02d} 00:{i % 60:02d}:00"}
        entries = [(1, title, sku, price, q, rate) for q, sku, title, price in bought] + [(2, "送料", "", shipping, 1, 10), (3, "手数料", "", fee, 1, 10), (4, "割引", "", -coupon, 1, 10), (6, "ポイント", "", -points, 1, 0)]
        for kind, title, sku, price, q, tax in entries:
            if kind > 2 and not price: continue
            cells = order | {"商品名": title, "商品コード": sku, "価格": price, "個数": q, "税率": tax, "明細区分(ID)": kind, "出荷ID": 7 if kind < 3 else "", "発送日": "2026-12-30 09:00:00" if kind < 3 and state == 5 else ""}
            line = [cells.get(h, "") for h in ECCUBE]
            line[first_fee], line[parcel_fee] = shipping, 999 if kind < 3 else ""
            lines.append(line)
        status = ECCUBE_STATUS[state][1]
        truth[number] = (status, 0. if status == "cancelled" else float(subtotal - coupon), float(points), float(fee), len(bought))
    return lines, truth


def eccube_members(counts):
    "Members with the cart's own count of purchases."
    header = "会員ID,お名前(姓),お名前(名),郵便番号,住所1,メールアドレス,TEL,性別(ID),性別(名称),職業(名称),誕生日,初回購入日,最終購入日,購入回数,ショップ用メモ欄,会員ステータス(ID),会員ステータス(名称),登録日,更新日,ポイント".split(",")
    return header, [{"会員ID": m, "お名前(姓)": "山田", "メールアドレス": f"member{m}@example.jp", "TEL": f"03-0000-{int(m):04d}", "性別(名称)": "女性", "誕生日": "1990-01-01", "購入回数": n, "会員ステータス(名称)": "本会員",
                     "登録日": "2025-04-01 10:00:00", "更新日": "2026-12-31 10:00:00", "ポイント": 120} for m, n in counts.items()]


def futureshop(n=200, seed=3):
    "Lines, and order → (status, revenue with coupons, revenue without)."
    draw, lines, truth = random.Random(seed), [], {}
    for i in range(n):
        bought = [(draw.randint(1, 3), *draw.choice(ARTICLES)) for _ in range(draw.randint(1, 3))]
        gross = sum(q*p for q, _, _, p in bought)
        discount, coupon, points, fee, shipping, cool = draw.choice([0, 200]), draw.choice([0, 150]), draw.choice([0, 100]), draw.choice([0, 330]), draw.choice([0, 500]), draw.choice([0, 220])
        state = draw.choice(["通常処理", "処理済", "処理済", "注文取消", "返品", "保留"])
        bill = gross - discount - coupon - points + fee + shipping + cool
        p, number = person(i), f"F{i:05d}"
        for q, sku, title, price in bought:
            lines.append({"受注コード": number, "注文日時": f"2026/{i % 12 + 1:02d}/{i % 28 + 1:02d} 00:{i % 60:02d}:00", "処理状況区分": state, "会員番号": "" if i % 6 == 0 else f"m{i % 30}", "メールアドレス(メイン)": p["email"],
                          "氏名(姓)": p["sei"], "住所1": "千代田区", "電話番号(メイン)": p["phone"], "請求合計金額": yen(bill), "商品合計金額": yen(gross), "消費税合計": round(gross/11), "包装手数料": 0, "送料": shipping, "決済手数料": fee,
                          "クール便手数料": cool, "ポイント利用額": points, "割引合計金額(商品)": discount, "割引合計金額(送料)": 0, "商品番号": sku, "枝番号": "01", "商品名": title, "販売単価": price, "購入数量": q})
        status = {"注文取消": "cancelled", "返品": "cancelled", "保留": "pending"}.get(state, "valid")
        truth[number] = (status, 0. if status == "cancelled" else float(gross - discount - coupon), 0. if status == "cancelled" else float(gross - discount))
    return lines, truth


def makeshop(n=200, seed=4):
    "Lines as a spreadsheet left them, and order → (status, revenue, local time)."
    draw, lines, truth = random.Random(seed), [], {}
    for i in range(n):
        q, (sku, title, price) = draw.randint(1, 3), draw.choice(ARTICLES)
        coupon, hour, minute, second = draw.choice([0, 100]), draw.randint(0, 23), draw.randint(0, 59), draw.randint(0, 59)
        state = draw.choice(["配送", "配送", "未処理", "注文キャンセル", "返送"])
        p, number = person(i), f"P{171323551145213731 + i}"
        lines.append({"日付": f"2022/{i % 12 + 1}/{i % 28 + 1}", "注文時間": str(int(f"{hour:02d}{minute:02d}{second:02d}")), "注文番号": number, "処理状況": state, "注文者": p["sei"] + p["mei"], "注文者(振り仮名)": p["kana_sei"],
                      "注文者メールアドレス": p["email"], "会員ID": "" if i % 6 == 0 else f"m{i % 30}", "商品合計(税込)": yen(q*price), "クーポン割引": coupon, "使用ポイント": "０", "送料": "５００円", "商品コード": sku, "商品名": title, "価格": price, "個数": q})
        status = "cancelled" if state in ("注文キャンセル", "返送") else "valid"
        truth[number] = (status, 0. if status == "cancelled" else float(q*price - coupon), f"2022-{i % 12 + 1:02d}-{i % 28 + 1:02d} {hour:02d}:{minute:02d}:{second:02d}")
    return lines, truth


MAKESHOP_COLUMNS = dict(user_id="会員ID", _email="注文者メールアドレス", gross="商品合計(税込)", discount="クーポン割引", revenue=dict(plus="商品合計(税込)", minus="クーポン割引"), points_used="使用ポイント", shipping="送料", fee="手数料",
                        order_items=dict(item_id="商品コード", name="商品名", price="価格", quantity="個数"))
